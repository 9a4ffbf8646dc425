// The promise: every preset keeps to its LPIPS against the reference on drawn scenes and on a photograph that had no
// part in choosing it (ci/presets measures more of them), and the words on the command line mean what they say.
#include "harness/presets.h"

#include <gtest/gtest.h>

#include <map>

#include "harness/implementations.h"
#include "harness/metrics/metric.h"
#include "harness/sweep.h"
#include "interface/source_image.h"
#include "tests/failures.h"

namespace i2i {
namespace {

struct Case {
  const char* source;  ///< below the repository
  const char* prompt;
};
constexpr Case kCases[] = {
    {"datasets/promises/05.png", "a large purple square at middle center on a plain brown ground"},
    {"datasets/promises/13.png",
     "a small blue cross at top left and a small white triangle at bottom right on a "
     "checkered brown ground"},
    {".deps/photographs/coffee.png", "a large white cross at middle center on a plain brown ground"},
};

std::shared_ptr<const Model> scenes() {
  static const std::shared_ptr<const Model> model = load_model("scenes");
  return model;
}

at::Tensor picture(const std::string& implementation, const FeatureChoice& choice, const Case& one, int steps) {
  static std::map<std::pair<std::string, std::map<std::string, bool>>, std::unique_ptr<Pipeline>> pipelines;
  auto& pipeline = pipelines[{implementation, choice.switches}];
  if (!pipeline) {
    PipelineOptions options;
    options.features = choice.switches;
    pipeline = make_pipeline(implementation, scenes(), options);
  }
  Request request = parse_request(
      R"({"source_image": "-", "prompt": "-", "negative_prompt": "", "seed": 23})");  // all else by default
  request.prompt = one.prompt;
  request.steps = steps;
  GenerateOptions options;
  options.scheduler = resolve_scheduler("", scenes()->config);
  options.savings = choice.savings;
  return pipeline->generate(request, load_source_image(std::string(I2I_SOURCE_DIR) + "/" + one.source), options)
      .images[0];
}

double lpips_to_reference(const std::string& features, const Case& one, int steps) {
  static std::map<std::pair<const char*, int>, at::Tensor> references;
  at::Tensor& reference = references[{one.source, steps}];
  if (!reference.defined()) reference = picture("reference", {}, one, steps);
  return metric_by_name("lpips").measure(reference, picture("optimized", parse_features(features), one, steps));
}

TEST(Presets, KeepToTheirBounds) {
  for (const Preset& preset : presets()) {
    for (const Case& one : kCases) {
      const double distance = lpips_to_reference(preset.features, one, 20);
      EXPECT_LE(distance, preset.lpips_bound) << preset.name << " on " << one.source;
      EXPECT_EQ(parse_features(preset.features).lossy(), !preset.features.empty());
    }
  }
}

// So that the bounds above are not ones that anything would keep to.
TEST(Presets, WhatLeavesTooMuchOutBreaksABound) {
  EXPECT_GT(lpips_to_reference("feature_reuse=20:1", kCases[0], 20), preset_named("fast").lpips_bound);
  EXPECT_GT(lpips_to_reference("guidance_interval=0:0.05", kCases[0], 20), preset_named("balanced").lpips_bound);
}

TEST(Presets, AreATableFromExactToFast) {
  ASSERT_GE(presets().size(), 3u);
  EXPECT_EQ(presets().front().name, "exact");
  EXPECT_EQ(presets().back().name, "fast");
  for (std::size_t i = 1; i < presets().size(); ++i) EXPECT_LT(presets()[i - 1].lpips_bound, presets()[i].lpips_bound);
  try {
    preset_named("ludicrous");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "there is no preset 'ludicrous'; known: exact, balanced, fast");
  }
}

TEST(Words, ComeToSwitchesAndSavings) {
  EXPECT_FALSE(parse_features("").lossy());
  EXPECT_FALSE(parse_features("all,-winograd").lossy());
  const FeatureChoice choice = parse_features("-winograd,feature_reuse=3:2,guidance_interval=0.1:0.9");
  EXPECT_TRUE(choice.lossy());
  EXPECT_EQ(choice.switches, (std::map<std::string, bool>{{"winograd", false}}));
  EXPECT_EQ(choice.savings.reuse_interval, 3);
  EXPECT_EQ(choice.savings.reuse_depth, 2);
  EXPECT_EQ(choice.savings.guidance_from, 0.1);
  EXPECT_EQ(choice.savings.guidance_to, 0.9);
  EXPECT_FALSE(parse_features("feature_reuse=3,-feature_reuse").lossy()) << "the last word holds";
  EXPECT_FALSE(parse_features("feature_reuse=3,-all").lossy());
  EXPECT_EQ(features_of("exact", "-winograd"), "-winograd");
  EXPECT_FALSE(parse_features(features_of("fast", "-all")).lossy());
  EXPECT_EQ(features_of("", "x"), "x");
}

std::string refusal(const std::string& features) {
  return failure_of([&] { parse_features(features); }, ErrorCode::kUsage);
}

TEST(Words, AreRefusedWithValueAndBound) {
  EXPECT_EQ(refusal("feature_reuse=0"), "feature_reuse: an interval of 0 steps is outside [1, 50]");
  EXPECT_EQ(refusal("feature_reuse=often"),
            "feature_reuse=often: expected INTERVAL[:DEPTH[:FROM]], for instance feature_reuse=2:4");
  EXPECT_EQ(refusal("guidance_interval=0.9:0.1"), "guidance_interval: from 0.9 to 0.1 is not an interval in [0, 1]");
  EXPECT_EQ(refusal("winograd=4"), "winograd=4: this feature has no value, it is on or off");
  EXPECT_NE(refusal("warp_drive=9").find("warp_drive"), std::string::npos);
  EXPECT_NE(refusal("warp_drive").find("feature_reuse=INTERVAL[:DEPTH[:FROM]]"), std::string::npos)
      << "it lists what there is";
}

TEST(Bounds, AreThePresetsThePrecisionsOrFasts) {
  EXPECT_EQ(bounds_of("", "", "fp32").at("lpips"), 0.001);
  EXPECT_EQ(bounds_of("exact", "", "fp32").at("ssim"), 0.999);
  EXPECT_EQ(bounds_of("balanced", "", "fp32").at("lpips"), 0.02);
  EXPECT_EQ(bounds_of("", "feature_reuse=2", "fp32").at("lpips"), 0.08);
}

}  // namespace
}  // namespace i2i
