// The promise: on the CPU the optimized implementation computes what the reference computes, for every model family and
// scheduler, with all features on, all off, and each one off alone, free-running and step-locked, on one thread and
// two.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "interface/error.h"
#include "optimized/features.h"
#include "optimized/ops/cpu/instruction_sets.h"
#include "optimized/pipeline.h"
#include "reference/pipeline.h"
#include "tests/failures.h"
#include "tests/small_requests.h"

namespace i2i {
namespace {

// Two fp32 runs of one model differ by up to 3e-6 on pictures through order of summation alone (semantics.md section
// 13); Winograd's transforms add a few 1e-6. Ten times the floor, and below what a wrong formula moves (4e-5 for
// tanh-GELU).
constexpr double kPictures = 3e-5;
// Stage tensors are compared relative to their largest magnitude.
constexpr double kStages = 5e-5;

class Recorder : public TraceSink {
 public:
  void tensor(std::string_view name, int step, const at::Tensor& value) override {
    tensors[step < 0 ? std::string(name) : fmt::format("{}@{:02}", name, step)] = value.clone();
  }
  std::map<std::string, at::Tensor> tensors;
};

const std::vector<std::string>& families() {
  static const std::vector<std::string> kFamilies = {"synthetic:tiny-sd15", "synthetic:tiny-sd21",
                                                     "synthetic:tiny-sdxl", "synthetic:tiny-sd15-ip2p",
                                                     "synthetic:tiny-sdxl-ip2p"};
  return kFamilies;
}
const std::vector<std::string>& schedulers() {
  static const std::vector<std::string> kSchedulers = {"ddim:clip_sample=false",
                                                       "pndm:skip_prk_steps=true",
                                                       "euler",
                                                       "euler_a",
                                                       "dpmpp_2m",
                                                       "DPM++ 2M Karras",
                                                       "Euler Karras",
                                                       "PNDM:skip_prk_steps=false",
                                                       "dpmpp_2s:solver_order=3",
                                                       "unipc:solver_order=3",
                                                       "deis"};
  return kSchedulers;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

/// Everything that the reference traced is traced here too, in the same shape and with the same values.
void expect_same_trace(const Recorder& reference, const Recorder& optimized, double tolerance) {
  for (const auto& [name, expected] : reference.tensors) {
    const auto found = optimized.tensors.find(name);
    ASSERT_NE(found, optimized.tensors.end()) << name << " is not traced";
    ASSERT_EQ(found->second.sizes(), expected.sizes()) << name;
    ASSERT_EQ(found->second.scalar_type(), expected.scalar_type()) << name;
    const double scale = std::max(1.0, expected.to(at::kDouble).abs().max().item<double>());
    EXPECT_LE(difference(found->second, expected), tolerance * scale) << name;
  }
  EXPECT_EQ(reference.tensors.size(), optimized.tensors.size());
}

struct Traced {
  Result result;
  Recorder trace;
};
Traced run(Pipeline& pipeline, const Model& model, const Request& request, const std::string& scheduler,
           const at::Tensor& locked = {}) {
  Traced done;
  GenerateOptions options;
  options.scheduler = resolve_scheduler(scheduler, model.config);
  options.trace = &done.trace;
  options.locked_latents = locked;
  done.result = pipeline.generate(request, source_picture(70, 52), options);
  return done;
}

at::Tensor latents_in(const Traced& run) {
  std::vector<at::Tensor> steps;
  for (const auto& [name, tensor] : run.trace.tensors) {
    if (name.rfind("loop.latents_in@", 0) == 0) steps.push_back(tensor);
  }
  return at::stack(steps);
}

struct Case {
  std::string model;
  std::string scheduler;
};
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& model : families()) {
    for (const auto& scheduler : schedulers()) cases.push_back({model, scheduler});
  }
  return cases;
}

class EqualsReference : public testing::TestWithParam<Case> {};

TEST_P(EqualsReference, FreeRunningAndStepLocked) {
  const auto model = model_named(GetParam().model);
  const auto reference = make_reference_pipeline(model, {});
  const auto optimized = make_optimized_pipeline(model, {});
  for (const double strength : {0.6, 1.0}) {
    SCOPED_TRACE(fmt::format("strength {}", strength));
    const Request request = request_of(strength, 6, 2);
    const Traced expected = run(*reference, *model, request, GetParam().scheduler);
    const Traced free = run(*optimized, *model, request, GetParam().scheduler);
    EXPECT_EQ(free.result.steps_run, expected.result.steps_run);
    EXPECT_EQ(free.result.warnings, expected.result.warnings);
    EXPECT_LE(difference(free.result.images, expected.result.images), kPictures);
    expect_same_trace(expected.trace, free.trace, kStages);
    const Traced locked = run(*optimized, *model, request, GetParam().scheduler, latents_in(expected));
    expect_same_trace(expected.trace, locked.trace, kStages);
  }
}

std::string readable(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.model.substr(info.param.model.find(':') + 1) + "_" +
                     info.param.scheduler.substr(0, info.param.scheduler.find(':'));
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}
INSTANTIATE_TEST_SUITE_P(Families, EqualsReference, testing::ValuesIn(all_cases()), readable);

/// Each exact feature alone off, or on where it is off, and all off.
std::vector<std::pair<std::string, std::map<std::string, bool>>> feature_masks() {
  std::vector<std::pair<std::string, std::map<std::string, bool>>> masks;
  std::map<std::string, bool> none;
  for (const auto& feature : known_features()) {
    if (!feature.exact) continue;
    masks.push_back({feature.name, {{feature.name, !feature.by_default}}});
    none[feature.name] = false;
  }
  masks.push_back({"all of them", none});
  return masks;
}

TEST(Features, EachMaskedAloneAndAllTogether) {
  for (const auto& family : families()) {
    const auto model = model_named(family);
    const auto reference = make_reference_pipeline(model, {});
    const Request request = request_of(0.8, 4, 2);
    const Traced expected = run(*reference, *model, request, "pndm:skip_prk_steps=true");
    for (const auto& [name, switches] : feature_masks()) {
      SCOPED_TRACE(fmt::format("{} without {}", family, name));
      PipelineOptions options;
      options.features = switches;
      const auto optimized = make_optimized_pipeline(model, options);
      const Traced masked = run(*optimized, *model, request, "pndm:skip_prk_steps=true");
      EXPECT_LE(difference(masked.result.images, expected.result.images), kPictures);
      expect_same_trace(expected.trace, masked.trace, kStages);
    }
  }
}

TEST(Features, LossyOnesAreOffUnlessAskedForByName) {
  const Features defaults = make_features({});
  for (const auto& feature : known_features()) {
    EXPECT_EQ(defaults.*feature.on, feature.by_default) << feature.name;
    EXPECT_TRUE(feature.exact || !feature.by_default) << feature.name;
    EXPECT_TRUE(make_features({{feature.name, true}}).*feature.on) << feature.name;
  }
}

TEST(Features, UnknownNamesAreRefusedWithTheKnownOnes) {
  const std::string message = failure_of([] { make_features({{"warp_drive", true}}); }, ErrorCode::kUsage);
  expect_contains(message, "warp_drive");
  for (const auto& feature : known_features()) expect_contains(message, feature.name);
}

TEST(Guidance, EveryModeEqualsTheReference) {
  for (const auto& family : families()) {
    const auto model = model_named(family);
    const auto reference = make_reference_pipeline(model, {});
    const auto optimized = make_optimized_pipeline(model, {});
    for (const auto& [text, image] :
         {std::pair{1.0, 1.0}, std::pair{1.0, 2.0}, std::pair{0.5, 1.5}, std::pair{15.0, 1.0}}) {
      SCOPED_TRACE(fmt::format("{} guidance {} {}", family, text, image));
      Request request = request_of(0.7, 3, 1);
      request.guidance_scale = text;
      request.image_guidance_scale = image;
      const Traced expected = run(*reference, *model, request, "euler_a");
      const Traced got = run(*optimized, *model, request, "euler_a");
      expect_same_trace(expected.trace, got.trace, kStages);
    }
  }
}

// Sizes that are floored as well: SDXL is told the size, and both must tell it the same one.
class Sizes : public testing::TestWithParam<const char*> {};

TEST_P(Sizes, RunOneAfterAnotherOnOnePipeline) {
  const auto model = model_named(GetParam());
  const auto reference = make_reference_pipeline(model, {});
  const auto optimized = make_optimized_pipeline(model, {});
  for (const auto& [width, height, batch] :
       {std::tuple{72, 40, 1}, std::tuple{36, 100, 3}, std::tuple{75, 47, 1}, std::tuple{72, 40, 1}}) {
    SCOPED_TRACE(fmt::format("{} x {}, {} pictures", width, height, batch));
    Request request = request_of(0.5, 4, batch);
    request.width = width;
    request.height = height;
    const Traced expected = run(*reference, *model, request, "dpmpp_2m");
    const Traced got = run(*optimized, *model, request, "dpmpp_2m");
    EXPECT_LE(difference(got.result.images, expected.result.images), kPictures);
    expect_same_trace(expected.trace, got.trace, kStages);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Sizes, testing::Values("synthetic:tiny-sd15", "synthetic:tiny-sdxl-ip2p"),
                         [](const auto& model) { return model.index == 0 ? "sd15" : "sdxl_ip2p"; });

TEST(Threads, OneAndTwoGiveTheSame) {
  const auto model = model_named("synthetic:tiny-sdxl-ip2p");
  const auto optimized = make_optimized_pipeline(model, {});
  const int before = at::get_num_threads();
  const Request request = request_of(0.8, 4, 2);
  at::set_num_threads(2);
  const Traced two = run(*optimized, *model, request, "euler");
  const Traced again = run(*optimized, *model, request, "euler");
  at::set_num_threads(1);
  const Traced one = run(*optimized, *model, request, "euler");
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(two.result.images, again.result.images)) << "the same thread count twice is bit-identical";
  EXPECT_LE(difference(one.result.images, two.result.images), kPictures);
}

TEST(InstructionSets, AgreeWithTheReference) {
  const auto model = model_named("synthetic:tiny-sdxl");
  const Request request = request_of(0.8, 3, 1);
  const Traced expected = run(*make_reference_pipeline(model, {}), *model, request, "euler");
  for (const char* name : cpu::instruction_sets()) {
    if (!cpu::choose_instruction_set(name)) continue;
    SCOPED_TRACE(name);
    const Traced got = run(*make_optimized_pipeline(model, {}), *model, request, "euler");
    EXPECT_LE(difference(got.result.images, expected.result.images), kPictures);
  }
  cpu::choose_instruction_set("");
}

/// Held to how far the reference itself goes with bfloat16 everywhere: here only what products multiply is rounded.
TEST(Bf16, IsNoFurtherOffThanTheReferenceInBf16) {
  if (at::get_cpu_capability() != "AVX512") {
    GTEST_SKIP() << "the reference in bfloat16 needs AVX-512 of libtorch, which has " << at::get_cpu_capability();
  }
  PipelineOptions half;
  half.dtype = at::kBFloat16;
  for (const std::string& family : families()) {
    const auto model = model_named(family);
    const Request request = request_of(0.8, 3, 1);
    const at::Tensor expected = run(*make_reference_pipeline(model, {}), *model, request, "euler").result.images;
    const double reference = difference(
        run(*make_reference_pipeline(model, half), *model, request, "euler").result.images.to(at::kFloat), expected);
    for (const char* name : cpu::instruction_sets()) {
      if (!cpu::choose_instruction_set(name)) continue;
      for (const bool packed : {true, false}) {
        SCOPED_TRACE(fmt::format("{} on {}, packed_weights {}", family, name, packed));
        PipelineOptions options = half;
        if (!packed) options.features = {{"packed_weights", false}};
        const Traced got = run(*make_optimized_pipeline(model, options), *model, request, "euler");
        const double moved = difference(got.result.images, expected);
        EXPECT_LE(moved, reference);
        EXPECT_GT(moved, 10 * kPictures) << "nothing was rounded";
      }
    }
    cpu::choose_instruction_set("");
  }
}

TEST(Refusals, NameWhatIsUnsupported) {
  const auto model = model_named("synthetic:tiny-sd15");
  const auto optimized = make_optimized_pipeline(model, {});
  for (const char* scheduler : {"ddim:clip_sample=true", "ddim:clip_sample=false,thresholding=true",
                                "dpmpp_2m:use_flow_sigmas=true", "unipc:use_dynamic_shifting=true"}) {
    SCOPED_TRACE(scheduler);
    expect_contains(failure_of([&] { run(*optimized, *model, request_of(0.5, 4, 1), scheduler); }, ErrorCode::kUsage),
                    "unsupported");
  }
  PipelineOptions options;
  options.device = "cuda";
  EXPECT_THROW(make_optimized_pipeline(model, options), Error);
}

TEST(BrokenWeights, AreNamedByTheirStage) {
  auto broken = std::make_shared<Model>(*model_named("synthetic:tiny-sd15"));
  broken->unet_weights["conv_out.bias"] = at::full({4}, NAN);
  const auto pipeline = make_optimized_pipeline(broken, {});
  expect_contains(failure_of([&] { run(*pipeline, *broken, request_of(0.5, 4, 1), "euler"); }), "step 0");
}

}  // namespace
}  // namespace i2i
