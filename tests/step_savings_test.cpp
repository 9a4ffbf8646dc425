// The promise: what the loop leaves out is what was asked for and nothing else. Steps are laid out by hand-written
// tables; deep features on an unchanged input give an unchanged output, bit for bit, at every depth; a step without
// guidance is the conditional row of one with it; and all of it holds for every model family, with guidance as one
// batch or row by row, for schedulers that evaluate more than once a step.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "interface/error.h"
#include "optimized/pipeline.h"
#include "optimized/step_plan.h"
#include "tests/failures.h"
#include "tests/small_requests.h"

namespace i2i {
namespace {

/// One letter a step: W whole, r reused, small w and r without guidance.
std::string letters(const StepSavings& savings, const std::vector<double>& timesteps) {
  std::string text;
  for (const StepWork& step : plan_steps(savings, timesteps, 12)) {
    text += step.guided ? (step.whole ? 'W' : 'R') : (step.whole ? 'w' : 'r');
  }
  return text;
}

TEST(Plan, IsWhatTheTablesSay) {
  const std::vector<double> ten = {900, 800, 700, 600, 500, 400, 300, 200, 100, 0};
  EXPECT_EQ(letters({}, ten), "WWWWWWWWWW");
  EXPECT_EQ(letters({2, 1, 0, 1}, ten), "WRWRWRWRWR");
  EXPECT_EQ(letters({3, 1, 0, 1}, ten), "WRRWRRWRRW");
  EXPECT_EQ(letters({50, 1, 0, 1}, ten), "WRRRRRRRRR");
  EXPECT_EQ(letters({1, 1, 0.2, 0.8}, ten), "wwWWWWWWww");
  EXPECT_EQ(letters({1, 1, 0, 0.75}, ten), "WWWWWWWWww") << "position 0.7 is inside";
  EXPECT_EQ(letters({1, 1, 0.95, 1}, ten), "wwwwwwwwww") << "no step starts that late";
  // The first guided step has no deep features of its other rows: it is whole, and counts from there.
  EXPECT_EQ(letters({3, 1, 0.2, 0.8}, ten), "wrWRRWRRwr");
  // The first steps whole, then as if the last of them were the first.
  EXPECT_EQ(letters({3, 1, 0, 1, 0.3}, ten), "WWWRRWRRWR");
  EXPECT_EQ(letters({3, 1, 0, 0.5, 0.35}, ten), "WWWWRrwrrw") << "the fourth starts at 0.3";
  EXPECT_EQ(letters({1, 1, 0, 1, 0.3}, ten), "WWWWWWWWWW");
  EXPECT_EQ(letters({9, 1, 0, 1, 0.3}, {900, 600, 600, 300, 300}), "WWWRR") << "evaluations at one level go together";
  // Heun: two evaluations at one level are guided together.
  EXPECT_EQ(letters({1, 1, 0, 0.3}, {900, 600, 600, 300, 300}), "WWWww");
  EXPECT_EQ(letters({2, 1, 0, 1}, {7}), "W");
}

std::string refusal(const std::function<void()>& act) { return failure_of(act, ErrorCode::kUsage); }

TEST(Plan, RefusesWithValueAndBound) {
  const std::vector<double> steps = {1, 0};
  EXPECT_EQ(refusal([&] {
              plan_steps({0, 1, 0, 1}, steps, 12);
            }),
            "feature_reuse: an interval of 0 steps is outside [1, 50]");
  EXPECT_EQ(refusal([&] {
              plan_steps({51, 1, 0, 1}, steps, 12);
            }),
            "feature_reuse: an interval of 51 steps is outside [1, 50]");
  EXPECT_EQ(refusal([&] {
              plan_steps({2, 0, 0, 1}, steps, 12);
            }),
            "feature_reuse: a depth of 0 resnets is below the minimum 1");
  EXPECT_EQ(refusal([&] {
              plan_steps({2, 13, 0, 1}, steps, 12);
            }),
            "feature_reuse: a depth of 13 resnets is above the maximum 12 of this UNet");
  EXPECT_EQ(refusal([&] {
              plan_steps({2, 1, 0, 1, 1}, steps, 12);
            }),
            "feature_reuse: reuse from 1 of the steps on is outside [0, 1)");
  for (const auto& [from, to] : {std::pair{-0.1, 1.0}, {0.5, 0.5}, {0.6, 0.4}, {0.0, 1.1}, {0.0, double{NAN}}}) {
    EXPECT_EQ(refusal([&, from = from, to = to] {
                plan_steps({1, 1, from, to}, steps, 12);
              }),
              fmt::format("guidance_interval: from {} to {} is not an interval in [0, 1]", from, to));
  }
}

TEST(Words, AreReadAndRefused) {
  StepSavings savings;
  EXPECT_TRUE(switch_on(savings, "feature_reuse", "3"));
  EXPECT_EQ(savings.reuse_interval, 3);
  EXPECT_EQ(savings.reuse_depth, 1);
  EXPECT_TRUE(switch_on(savings, "feature_reuse", "4:5"));
  EXPECT_EQ(savings.reuse_depth, 5);
  EXPECT_EQ(savings.reuse_from, 0);
  EXPECT_TRUE(switch_on(savings, "feature_reuse", "4:2:0.25"));
  EXPECT_EQ(savings.reuse_depth, 2);
  EXPECT_EQ(savings.reuse_from, 0.25);
  EXPECT_TRUE(switch_on(savings, "guidance_interval", "0.1:0.75"));
  EXPECT_EQ(savings.guidance_from, 0.1);
  EXPECT_EQ(savings.guidance_to, 0.75);
  EXPECT_TRUE(switch_off(savings, "feature_reuse"));
  EXPECT_TRUE(switch_off(savings, "guidance_interval"));
  EXPECT_FALSE(savings.any());
  EXPECT_FALSE(switch_on(savings, "warp_drive", "9"));
  EXPECT_FALSE(switch_off(savings, "warp_drive"));
  for (const StepFeature& feature : step_features()) {
    StepSavings standard;
    EXPECT_TRUE(switch_on(standard, feature.name, ""));
    EXPECT_TRUE(standard.any()) << feature.name << " without a value does something";
  }
  for (const char* value : {"x", "3:", ":3", "3:1:", "3:1:0.2:4", "2.5", "3,1"}) {
    EXPECT_NE(refusal([&] { switch_on(savings, "feature_reuse", value); }).find(value), std::string::npos);
  }
  for (const char* share : {"1", "-0.1", "nan"}) {
    EXPECT_NE(refusal([&] { switch_on(savings, "feature_reuse", fmt::format("3:1:{}", share)); }).find(share),
              std::string::npos);
  }
  for (const char* value : {"0.5", "a:b", "0.1-0.9", "0:0.5:1", "0.8:0.2", "0:2", "nan:1"}) {
    EXPECT_NE(refusal([&] { switch_on(savings, "guidance_interval", value); }), "no error") << value;
  }
  EXPECT_FALSE(savings.any()) << "what is refused changes nothing";
}

class Recorder : public TraceSink {
 public:
  void tensor(std::string_view name, int /*step*/, const at::Tensor& value) override {
    tensors[std::string(name)].push_back(value.clone());
  }
  std::map<std::string, std::vector<at::Tensor>> tensors;
};

class Families : public testing::TestWithParam<const char*> {
 protected:
  /// @param how  savings, locked latents
  Recorder run(const Request& request, const std::string& scheduler, const StepSavings& savings,
               const std::map<std::string, bool>& switches = {}, const at::Tensor& locked = {}) {
    auto& pipeline = pipelines_[switches];
    PipelineOptions options;
    options.features = switches;
    if (!pipeline) pipeline = make_optimized_pipeline(model_, options);
    Recorder recorder;
    GenerateOptions how;
    how.scheduler = resolve_scheduler(scheduler, model_->config);
    how.savings = savings;
    how.trace = &recorder;
    how.locked_latents = locked;
    pipeline->generate(request, source_picture(64, 48), how);
    return recorder;
  }

  std::shared_ptr<const Model> model_ = model_named(GetParam());
  std::map<std::map<std::string, bool>, std::unique_ptr<Pipeline>> pipelines_;
};

double difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() ? (a - b).abs().max().item<double>() : INFINITY;
}

// PNDM on a slice that starts at its second entry evaluates one timestep twice. Given the same sample both times, what
// is reused is what would be computed.
TEST_P(Families, DeepFeaturesOfTheSameInputGiveTheSameOutput) {
  for (const bool batched : {true, false}) {
    const std::map<std::string, bool> switches = {{"batched_guidance", batched}};
    Request request = request_of(0.8, 5, 2);  // 4 of 5 steps
    const Recorder plain = run(request, "pndm:skip_prk_steps=true", {}, switches);
    const auto& latents = plain.tensors.at("loop.latents_in");
    std::vector<at::Tensor> locked(latents.begin(), latents.end());
    locked[1] = locked[0];
    for (int depth = 1;; ++depth) {
      SCOPED_TRACE(fmt::format("batched {}, depth {}", batched, depth));
      Recorder reused;
      try {
        reused = run(request, "pndm:skip_prk_steps=true", {2, depth, 0, 1}, switches, at::stack(locked));
      } catch (const Error&) {
        EXPECT_GE(depth, 5) << "every UNet here has at least two levels of two resnets";
        break;
      }
      const auto& out = reused.tensors.at("loop.unet_out");
      EXPECT_EQ(difference(out[0], plain.tensors.at("loop.unet_out")[0]), 0) << "the whole step";
      EXPECT_EQ(difference(out[1], out[0]), 0) << "the step that reuses";
      // And where the input moves on, so does the output: by something, but less than by all.
      const Recorder free = run(request, "pndm:skip_prk_steps=true", {2, depth, 0, 1}, switches);
      const double error = difference(free.tensors.at("loop.unet_out")[1], plain.tensors.at("loop.unet_out")[1]);
      EXPECT_GT(error, 0);
      EXPECT_LT(error, difference(plain.tensors.at("loop.unet_out")[0], plain.tensors.at("loop.unet_out")[1]));
    }
  }
}

TEST_P(Families, AStepWithoutGuidanceIsTheConditionalRow) {
  for (const bool batched : {true, false}) {
    SCOPED_TRACE(fmt::format("batched {}", batched));
    const std::map<std::string, bool> switches = {{"batched_guidance", batched}};
    const Request request = request_of(1.0, 4, 2);
    const Recorder guided = run(request, "euler", {}, switches);
    const at::Tensor locked = at::stack(guided.tensors.at("loop.latents_in"));
    const Recorder half = run(request, "euler", {1, 1, 0.25, 0.75}, switches, locked);
    const std::int64_t rows = guided.tensors.at("loop.unet_out")[0].size(0) / request.batch_size;
    const std::int64_t conditional = rows == 2 ? 1 : 0;
    for (std::size_t step = 0; step < 4; ++step) {
      const at::Tensor &all = guided.tensors.at("loop.unet_out")[step], &out = half.tensors.at("loop.unet_out")[step];
      if (step == 1 || step == 2) {
        EXPECT_EQ(difference(out, all), 0) << "guided steps are as they were, step " << step;
        continue;
      }
      const double largest = all.abs().max().item<double>();
      EXPECT_LE(difference(out, all.narrow(0, conditional * request.batch_size, request.batch_size)), 5e-5 * largest)
          << "step " << step;
      EXPECT_EQ(difference(half.tensors.at("loop.guided")[step], out), 0) << "nothing is guided, step " << step;
    }
  }
}

// Guidance that ends while features are reused, and guidance that begins: rows come and go in both forms of the batch.
TEST_P(Families, BothTogetherAreTheSameInOneBatchAndRowByRow) {
  for (const char* scheduler : {"euler", "heun", "dpm2", "pndm:skip_prk_steps=true", "dpmpp_2m", "euler_a"}) {
    for (const StepSavings& savings : {StepSavings{3, 2, 0.2, 0.7}, {2, 1, 0, 0.6}, {4, 3, 0.5, 1}}) {
      SCOPED_TRACE(fmt::format("{}: {} {} {} {}", scheduler, savings.reuse_interval, savings.reuse_depth,
                               savings.guidance_from, savings.guidance_to));
      const Request request = request_of(0.9, 6, 1);
      const at::Tensor one = run(request, scheduler, savings).tensors.at("images")[0];
      const at::Tensor apart =
          run(request, scheduler, savings,
              {{"batched_guidance", false}, {"cached_text_states", false}, {"cached_timesteps", false}})
              .tensors.at("images")[0];
      EXPECT_LE(difference(one, apart), 3e-5);
      EXPECT_EQ(difference(one, run(request, scheduler, savings).tensors.at("images")[0]), 0) << "twice the same";
    }
  }
}

// What is off changes nothing, whether it is never named or named with values that leave nothing out.
TEST_P(Families, OffIsBitForBitTheSame) {
  const Request request = request_of(0.8, 4, 2);
  const at::Tensor plain = run(request, "dpmpp_2m", {}).tensors.at("images")[0];
  EXPECT_EQ(difference(run(request, "dpmpp_2m", {1, 3, 0, 1}).tensors.at("images")[0], plain), 0);
  EXPECT_GT(difference(run(request, "dpmpp_2m", {2, 1, 0, 1}).tensors.at("images")[0], plain), 0);
  EXPECT_GT(difference(run(request, "dpmpp_2m", {1, 1, 0, 0.5}).tensors.at("images")[0], plain), 0);
  EXPECT_EQ(difference(run(request, "dpmpp_2m", {}).tensors.at("images")[0], plain), 0) << "and nothing is left behind";
}

INSTANTIATE_TEST_SUITE_P(Models, Families,
                         testing::Values("synthetic:tiny-sd15", "synthetic:tiny-sdxl", "synthetic:tiny-sd15-ip2p",
                                         "synthetic:tiny-sdxl-ip2p"),
                         [](const auto& model) {
                           std::string name = std::string(model.param).substr(15);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace i2i
