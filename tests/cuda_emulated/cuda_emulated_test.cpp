// The promise: the optimized pipeline over CUDA's kernels, every one of ours executed on the CPU, draws the reference's
// pictures for every model family and on `scenes`, in bf16 and fp16, and with each feature off. A pass is "emulated".
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "harness/compare.h"
#include "harness/trace.h"
#include "interface/error.h"
#include "interface/source_image.h"
#include "interface/synthetic_model.h"
#include "optimized/features.h"
#include "optimized/ops/cuda/attention.h"
#include "optimized/ops/cuda/geglu.h"
#include "optimized/ops/cuda/vae_attention.h"
#include "optimized/pipeline.h"
#include "reference/pipeline.h"
#include "tests/cuda_emulated/emulated.h"
#include "tests/failures.h"

namespace i2i {
namespace {

// Issue 5, point 4.
const nlohmann::json kBounds = {{"ssim", 0.99}, {"lpips", 0.01}};
const char* const kSubstituted = "no CUDA kernel";

/// Fails, with the metrics, where two runs' pictures are further apart than the bounds; prints the metrics.
void expect_same_pictures(const Result& reference, const Result& emulated, const std::string& what) {
  std::string problem;
  for (const MetricRow& row :
       compare_images(reference.images, emulated.images, {"ssim", "lpips", "psnr"}, kBounds, problem))
    fmt::print("  {:<32} {:<14} {:.5f}\n", what, row.name, row.value);
  EXPECT_EQ(problem, "") << what;
}

bool substituted(const Result& result) {
  return std::any_of(result.warnings.begin(), result.warnings.end(),
                     [](const std::string& warning) { return warning.starts_with(kSubstituted); });
}

// Every family in miniature. Their heads have 3 to 8 channels, which no kernel of ours serves: attention is ATen's
// there, and that is said; everything else is ours.
class Families : public testing::TestWithParam<const char*> {};

TEST_P(Families, DrawTheReferencesPictures) {
  const std::string model = golden_model(GetParam());
  const Request request = request_of(4, 0.7, 5);
  const Image source = source_picture("scene_00");
  const GenerateOptions options = options_of(model);
  const Result expected = make_reference_pipeline(model_named(model), {})->generate(request, source, options);
  const Result got = make_emulated(model)->generate(request, source, options);
  expect_same_pictures(expected, got, GetParam());
  EXPECT_TRUE(substituted(got)) << "a kernel for such heads, or a silent substitute";
}

INSTANTIATE_TEST_SUITE_P(Goldens, Families,
                         testing::Values("sd15", "sd15-lcm", "sd21-v", "ip2p", "sdxl", "sdxl-ip2p", "sdxl-refiner"),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

struct Scene {
  const char* name;
  const char* source;
  const char* scheduler;
  int steps;
  double strength, guidance, image_guidance;
  int batch = 1;
  double rescale = 0;
};

void PrintTo(const Scene& scene, std::ostream* out) { *out << scene.name; }

class Scenes : public testing::TestWithParam<Scene> {};

TEST_P(Scenes, DrawTheReferencesPicturesByKernelsOfOursAlone) {
  const Scene& scene = GetParam();
  Request request = request_of(scene.steps, scene.strength, 3);
  request.guidance_scale = scene.guidance;
  request.image_guidance_scale = scene.image_guidance;
  request.batch_size = scene.batch;
  const Image source = source_picture(scene.source);
  const GenerateOptions options = options_of("scenes", scene.scheduler, scene.rescale);
  static const auto reference = make_reference_pipeline(model_named("scenes"), {});
  static const auto emulated = make_emulated("scenes");
  const Result expected = reference->generate(request, source, options);
  const Result got = emulated->generate(request, source, options);
  expect_same_pictures(expected, got, scene.name);
  EXPECT_EQ(got.warnings, expected.warnings) << "no kernel may be missing for this model";
}

INSTANTIATE_TEST_SUITE_P(Requests, Scenes,
                         testing::Values(Scene{"ddim", "scene_00", "ddim:clip_sample=false", 3, 0.9, 7.5, 1.5},
                                         Scene{"euler", "scene_01", "euler", 3, 0.8, 5.0, 1.2},
                                         Scene{"euler_a_draws_noise", "scene_02", "euler_a", 3, 0.8, 5.0, 1.5},
                                         Scene{"dpmpp_2m_with_history", "scene_03", "dpmpp_2m", 6, 0.7, 5.0, 1.5},
                                         Scene{"unipc_with_history", "scene_04", "unipc", 4, 0.9, 4.0, 1.5},
                                         Scene{"two_pictures", "scene_05", "euler", 2, 0.6, 6.0, 1.5, 2},
                                         Scene{"text_guidance_alone", "scene_06", "euler", 3, 0.8, 7.5, 1.0},
                                         Scene{"no_guidance", "scene_07", "euler", 3, 0.8, 1.0, 1.0},
                                         Scene{"rescaled_guidance", "sketch", "euler", 3, 0.9, 7.5, 1.5, 1, 0.7}),
                         [](const auto& scene) { return std::string(scene.param.name); });

// DPM++ 2M in four steps at guidance 7.5 extrapolates so far that any rounding draws another detail (the CPU in bf16
// reaches SSIM 0.92): what each step computes from the same latents is held instead. Measured: 0.7 % of the largest
// value.
TEST(Scenes, EveryStepOfAnUnstableRequestIsTheReferences) {
  Request request = request_of(4, 0.9, 3);
  request.guidance_scale = 7.5;
  const Image source = source_picture("scene_03");
  GenerateOptions options = options_of("scenes", "dpmpp_2m");
  CollectingTrace expected, got;
  options.trace = &expected;
  make_reference_pipeline(model_named("scenes"), {})->generate(request, source, options);
  options.trace = &got;
  options.locked_latents = at::stack(expected.of("loop.latents_in"));
  make_emulated("scenes")->generate(request, source, options);
  constexpr double kOfTheLargest = 0.015;
  for (const StageDifference& row : compare_stages(expected, got, kOfTheLargest)) {
    if (row.name.starts_with("loop.")) {
      EXPECT_TRUE(row.passed) << row.name << " is " << row.max_abs << " off";
    }
  }
}

TEST(Scenes, InFloat16Too) {
  const Request request = request_of(3, 0.8, 9);
  const Image source = source_picture("scene_01");
  const GenerateOptions options = options_of("scenes", "euler");
  const Result expected = make_reference_pipeline(model_named("scenes"), {})->generate(request, source, options);
  const Result got = make_emulated("scenes", at::kHalf)->generate(request, source, options);
  expect_same_pictures(expected, got, "float16");
}

// As on sm_90: GEGLU is split behind a library's product.
TEST(Scenes, WithLibrariesWhereTheyWin) {
  const Request request = request_of(3, 0.8, 9);
  const Image source = source_picture("scene_01");
  const GenerateOptions options = options_of("scenes", "euler");
  const Result expected = make_reference_pipeline(model_named("scenes"), {})->generate(request, source, options);
  emulated_libraries_win() = true;
  const Result got = make_emulated("scenes")->generate(request, source, options);
  emulated_libraries_win() = false;
  expect_same_pictures(expected, got, "libraries");
  EXPECT_EQ(got.warnings, expected.warnings);
}

// The check itself: pictures of another prompt, or of another seed, do not pass for these.
TEST(Scenes, OtherPicturesAreNotTakenForThese) {
  const Image source = source_picture("scene_01");
  const GenerateOptions options = options_of("scenes", "euler");
  Request request = request_of(3, 0.9, 9);
  const Result expected = make_reference_pipeline(model_named("scenes"), {})->generate(request, source, options);
  request.prompt = "a small yellow star at bottom left on a striped brown ground";
  request.seed = 10;
  const Result got = make_emulated("scenes")->generate(request, source, options);
  std::string problem;
  compare_images(expected.images, got.images, {"ssim", "lpips"}, kBounds, problem);
  EXPECT_NE(problem, "");
}

// Traced runs go operator by operator, others as captured work: both must be the same work.
TEST(Scenes, TracingChangesNothing) {
  const Image source = source_picture("scene_02");
  const Request request = request_of(2, 0.9, 4);
  GenerateOptions options = options_of("scenes", "euler");
  const auto emulated = make_emulated("scenes");
  const Result plain = emulated->generate(request, source, options);
  CollectingTrace trace;
  options.trace = &trace;
  const Result traced = emulated->generate(request, source, options);
  EXPECT_TRUE(at::equal(plain.images, traced.images));
  EXPECT_FALSE(trace.of("loop.unet_in").empty());
}

std::vector<std::string> feature_names() {
  std::vector<std::string> names;
  for (const FeatureDescription& feature : known_features()) names.push_back(feature.name);
  return names;
}

class FeatureOff : public testing::TestWithParam<std::string> {};

TEST_P(FeatureOff, KeepsTheVerdict) {
  const std::string model = golden_model("sdxl-ip2p");
  const Request request = request_of(2, 0.9, 5);
  const Image source = source_picture("scene_00");
  const GenerateOptions options = options_of(model, "euler");
  static const Result expected = make_reference_pipeline(model_named(model), {})->generate(request, source, options);
  const Result got = make_emulated(model, at::kBFloat16, {{GetParam(), false}})->generate(request, source, options);
  expect_same_pictures(expected, got, "without " + GetParam());
}

INSTANTIATE_TEST_SUITE_P(Each, FeatureOff, testing::ValuesIn(feature_names()),
                         [](const auto& feature) { return feature.param; });

TEST(Features, AllOffTogether) {
  const std::string model = golden_model("sd15");
  const Request request = request_of(2, 0.9, 5);
  const Image source = source_picture("scene_00");
  const GenerateOptions options = options_of(model, "euler");
  std::map<std::string, bool> none;
  for (const std::string& name : feature_names()) none[name] = false;
  const Result expected = make_reference_pipeline(model_named(model), {})->generate(request, source, options);
  expect_same_pictures(expected, make_emulated(model, at::kBFloat16, none)->generate(request, source, options),
                       "without all of them");
}

// What the launchers say of the real models' shapes, with as few rows as there can be.
TEST(RealModels, HaveAKernelForEveryShape) {
  std::vector<std::uint16_t> memory(3 * 1280 * 2 * 16, 0);
  std::vector<std::uint16_t> weights(std::size_t{2} * 64 * 1280, 0);
  const auto type = cuda::ElementType::kBFloat16;
  for (const SyntheticModel& synthetic : synthetic_models()) {
    if (synthetic.name.find("tiny") != std::string::npos) continue;
    const ModelConfig config = synthetic.config();
    SCOPED_TRACE(synthetic.name);
    for (std::size_t level = 0; level < config.unet.block_out_channels.size(); ++level) {
      const auto channels = static_cast<int>(config.unet.block_out_channels[level]),
                 heads = static_cast<int>(config.unet.num_attention_heads[level]);
      EXPECT_EQ(cuda::attention(
                    cuda::self_attention_of(memory.data(), memory.data(), type, 1, 1, heads, channels / heads, false),
                    nullptr),
                cudaSuccess)
          << heads << " heads of " << channels / heads;
      // Every multiple of 8 is alike to it: one tile of the output's columns says it.
      const cuda::Linear feed_forward{
          memory.data(),          weights.data(), nullptr, nullptr, memory.data(), type, 1, channels, 64,
          cuda::Activation::kNone};
      EXPECT_EQ(cuda::geglu(feed_forward, nullptr), cudaSuccess) << channels << " channels";
    }
    const auto of_vae = static_cast<int>(config.vae.block_out_channels.back());
    EXPECT_EQ(cuda::vae_attention(cuda::self_attention_of(memory.data(), memory.data(), type, 1, 1, 1, of_vae, false),
                                  nullptr),
              cudaSuccess);
  }
}

TEST(Precision, Float32IsRefusedAndSdxlsVaeStaysInBFloat16) {
  EXPECT_THROW(make_emulated(golden_model("sd15"), at::kFloat), Error);
  const std::string model = golden_model("sdxl");
  const Request request = request_of(2, 0.5, 5);
  const Result got =
      make_emulated(model, at::kHalf)->generate(request, source_picture("scene_00"), options_of(model, "euler"));
  const auto& warnings = got.warnings;
  EXPECT_TRUE(std::any_of(warnings.begin(), warnings.end(), [](const std::string& warning) {
    return warning.find("VAE runs in bfloat16") != std::string::npos;
  }));
}

TEST(BrokenWeights, AreNamedByTheirStage) {
  auto broken = std::make_shared<Model>(*model_named(golden_model("sd15")));
  broken->unet_weights["conv_out.bias"] = at::full({4}, NAN);
  PipelineOptions options;
  options.device = "cuda-emulated";
  options.dtype = at::kBFloat16;
  const auto pipeline = make_optimized_pipeline(broken, options);
  expect_contains(failure_of([&] {
                    pipeline->generate(request_of(3, 0.9, 5), source_picture("scene_00"),
                                       options_of(golden_model("sd15"), "euler"));
                  }),
                  "step 0");
}

}  // namespace
}  // namespace i2i
