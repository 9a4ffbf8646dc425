// The promise: work that was captured for one request serves every other of its shape. The emulated backend runs the
// first request's work on the inputs of those that come after it, as a CUDA graph would, so that whatever it read
// beside its inputs would be in their pictures. That graphs and their events work is for a GPU to show.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "interface/error.h"
#include "optimized/cuda/recently_used.h"
#include "tests/cuda_emulated/emulated.h"

namespace i2i {
namespace {

const char* const kFamily = "sdxl-ip2p";  // reads the source in every step, and pooled text

Request first_request() { return request_of(4, 0.9, 5); }

/// As many steps and rows, everything else different.
Request other_request() {
  Request request = first_request();
  request.prompt = "a small yellow star at bottom left on a striped brown ground";
  request.negative_prompt = "blue";
  request.seed = 77;
  request.guidance_scale = 9.0;
  request.image_guidance_scale = 1.2;
  return request;
}

at::Tensor picture(Pipeline& pipeline, const Request& request, const std::string& source,
                   const std::string& scheduler) {
  return pipeline.generate(request, source_picture(source), options_of(golden_model(kFamily), scheduler))
      .images.clone();
}

struct Schedule {
  const char* name;
  const char* first;
  const char* other;  ///< with other numbers in the same places
};

void PrintTo(const Schedule& schedule, std::ostream* out) { *out << schedule.name; }

class CapturedLoop : public testing::TestWithParam<Schedule> {};

TEST_P(CapturedLoop, ServesAnotherRequestOfItsShape) {
  const std::string model = golden_model(kFamily);
  const auto launched = make_emulated(model, at::kBFloat16, {{"captured_steps", false}});
  const at::Tensor wanted = picture(*launched, other_request(), "scene_03", GetParam().other);
  const auto captured = make_emulated(model);
  const std::int64_t before = emulated_captures();
  const at::Tensor first = picture(*captured, first_request(), "scene_00", GetParam().first);
  const at::Tensor other = picture(*captured, other_request(), "scene_03", GetParam().other);
  EXPECT_EQ(emulated_captures() - before, 1) << "the second request was not served by the first one's work";
  EXPECT_TRUE(at::equal(other, wanted)) << "what is replayed has something of the request that it was captured for";
  EXPECT_FALSE(at::equal(first, wanted));
}

INSTANTIATE_TEST_SUITE_P(
    Schedulers, CapturedLoop,
    testing::Values(Schedule{"ddim", "ddim", "ddim:timestep_spacing=trailing"},
                    Schedule{"euler_a_draws_noise", "euler_a", "euler_a:timestep_spacing=trailing"},
                    Schedule{"dpmpp_2m_reads_history", "dpmpp_2m", "dpmpp_2m:use_karras_sigmas=true"},
                    Schedule{"dpmpp_sde_keeps_noise", "dpmpp_sde", "dpmpp_sde:use_karras_sigmas=true"},
                    Schedule{"heun_evaluates_twice", "heun", "heun:use_karras_sigmas=true"}),
    [](const auto& schedule) { return std::string(schedule.param.name); });

TEST(CapturedSteps, ServeAnotherRequestOfTheirShape) {
  const std::string model = golden_model(kFamily);
  const auto launched = make_emulated(model, at::kBFloat16, {{"captured_steps", false}});
  const at::Tensor wanted = picture(*launched, other_request(), "scene_03", "euler");
  const auto captured = make_emulated(model, at::kBFloat16, {{"captured_loop", false}});
  const std::int64_t before = emulated_captures();
  picture(*captured, first_request(), "scene_00", "dpmpp_2m");  // any schedule: a step reads none of it
  EXPECT_TRUE(at::equal(picture(*captured, other_request(), "scene_03", "euler"), wanted));
  EXPECT_EQ(emulated_captures() - before, 1);
}

// Where the loop must be looked into, or has numbers that are no inputs, it is left to captured steps or to launches.
TEST(CapturedLoop, IsLeftWhereItCannotServe) {
  const std::string model = golden_model(kFamily);
  const auto pipeline = make_emulated(model);
  const Image source = source_picture("scene_00");
  GenerateOptions options = options_of(model, "euler");
  options.guidance_rescale = 0.7;
  const at::Tensor rescaled = pipeline->generate(first_request(), source, options).images.clone();
  const auto launched = make_emulated(model, at::kBFloat16, {{"captured_steps", false}});
  EXPECT_TRUE(at::equal(rescaled, launched->generate(first_request(), source, options).images));
  const std::int64_t before = emulated_captures();
  options.guidance_rescale = 0.3;
  pipeline->generate(first_request(), source, options);
  EXPECT_EQ(emulated_captures(), before) << "steps were captured by the request before, and serve every rescale";
}

TEST(CapturedLoop, SaysWhenEachStepBeganAndEnded) {
  const std::string model = golden_model(kFamily);
  const Request request = first_request();
  const GenerateOptions options = options_of(model, "euler");
  const auto stages_with = [&](bool captured) {
    std::vector<std::pair<std::string, int>> names;
    const auto pipeline = make_emulated(model, at::kBFloat16, {{"captured_loop", captured}});
    const Result result = pipeline->generate(request, source_picture("scene_00"), options);
    for (const StageTime& stage : result.stages) {
      names.emplace_back(stage.name, stage.step);
      EXPECT_GT(stage.ms, 0) << stage.name << " " << stage.step;
    }
    return names;
  };
  EXPECT_EQ(stages_with(true), stages_with(false));
}

TEST(CapturedLoop, OfAnotherNumberOfStepsIsAnother) {
  const auto pipeline = make_emulated(golden_model(kFamily));
  const std::int64_t before = emulated_captures();
  Request request = first_request();
  for (const int steps : {2, 4, 2, 4}) {
    request.steps = steps;
    picture(*pipeline, request, "scene_00", "euler");
  }
  EXPECT_EQ(emulated_captures() - before, 2);
}

TEST(RecentlyUsedTest, WhatWasNotUsedForLongestMakesRoomBeforeTheNextIsMade) {
  RecentlyUsed<std::shared_ptr<int>> kept(2);
  int made = 0;
  const auto make = [&] { return std::make_shared<int>(++made); };
  const std::weak_ptr<int> a = kept.get("a", make);
  const std::weak_ptr<int> b = kept.get("b", make);
  EXPECT_EQ(*kept.get("a", make), 1);
  kept.get("c", [&] {
    EXPECT_TRUE(b.expired()) << "its memory is still held while another is made";
    return make();
  });
  EXPECT_FALSE(a.expired());
  EXPECT_EQ(*kept.get("b", make), 4);
}

}  // namespace
}  // namespace i2i
