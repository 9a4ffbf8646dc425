// What a request means for a model: size, steps, guidance passes, seed and warnings (design section 4; semantics.md
// sections 6, 10 and 12).
#include "interface/action_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "interface/error.h"

namespace i2i {
namespace {

Request request_with(const nlohmann::json& fields) {
  nlohmann::json document = {{"source_image", "a.png"}, {"prompt", "a cat"}, {"negative_prompt", ""}};
  document.update(fields);
  return parse_request(document);
}

/// A model with factor 8 and a native side of 512 pixels.
ModelConfig model_with(std::int64_t in_channels, std::size_t text_encoders) {
  ModelConfig model;
  model.name = "test";
  model.unet.in_channels = in_channels;
  model.unet.sample_size = 64;
  model.vae.block_out_channels = {1, 1, 1, 1};
  model.text_encoders.resize(text_encoders);
  return model;
}

ActionPlan plan(const nlohmann::json& fields, int width = 512, int height = 512, std::int64_t in_channels = 4,
                std::size_t text_encoders = 1) {
  return plan_action(request_with(fields), model_with(in_channels, text_encoders), width, height);
}

std::pair<int, int> size(const nlohmann::json& fields, int width, int height) {
  const ActionPlan result = plan(fields, width, height);
  return {result.width, result.height};
}

TEST(ActionPlan, SizeZeroIsTheSourcesOwnFittedToTheModel) {
  const nlohmann::json none = nlohmann::json::object();
  EXPECT_EQ(size(none, 512, 512), std::pair(512, 512));
  EXPECT_EQ(size(none, 300, 203), std::pair(296, 200));
  EXPECT_EQ(size(none, 519, 512), std::pair(512, 512));    // floors to the native area, so it is not scaled
  EXPECT_EQ(size(none, 1000, 1000), std::pair(512, 512));  // 0.512 is not exact in binary
  EXPECT_EQ(size(none, 3000, 3000), std::pair(512, 512));
  EXPECT_EQ(size(none, 2048, 512), std::pair(1024, 256));
  EXPECT_EQ(size(none, 1920, 1080), std::pair(680, 384));
  EXPECT_EQ(size(none, 3, 5), std::pair(8, 8));
  EXPECT_EQ(size(none, 60000, 4), std::pair(60000, 8));
}

TEST(ActionPlan, FittedSizesStayWithinTheNativeAreaAndNearTheAspect) {
  for (int width = 16; width < 5000; width += 97)
    for (int height = 16; height < 5000; height += 101) {
      const auto [w, h] = size(nlohmann::json::object(), width, height);
      ASSERT_LE(w * h, 512 * 512) << width << " x " << height;
      ASSERT_TRUE(w >= 8 && h >= 8 && w % 8 == 0 && h % 8 == 0) << width << " x " << height;
      ASSERT_TRUE(w <= std::max(width, 8) && h <= std::max(height, 8)) << width << " x " << height;
      const double scale = std::sqrt(512.0 * 512 / (1.0 * width * height));
      const double fit = std::min(1.0, scale);
      ASSERT_TRUE(w > fit * width - 8.01 && h > fit * height - 8.01) << width << " x " << height;
    }
}

TEST(ActionPlan, AskedSizesAreFlooredAndAnOpenSideKeepsTheAspect) {
  const ActionPlan asked = plan({{"width", 1031}, {"height", 767}}, 100, 100);
  EXPECT_EQ(asked.width, 1024);
  EXPECT_EQ(asked.height, 760);
  const ActionPlan open = plan({{"width", 512}}, 1000, 500);
  EXPECT_EQ(open.width, 512);
  EXPECT_EQ(open.height, 256);
  EXPECT_EQ(size({{"height", 256}}, 1000, 500), std::pair(512, 256));
}

TEST(ActionPlan, SizesThatFloorToNothingAreRefusedWithTheirBound) {
  for (const char* side : {"width", "height"}) try {
      plan({{side, 7}});
      FAIL() << side;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidRequest);
      EXPECT_EQ(error.violations().at(0).pointer, std::string("/") + side);
      EXPECT_NE(std::string(error.what()).find("7 is below the model's smallest side, 8"), std::string::npos);
    }
}

TEST(ActionPlan, StepsAreTruncatedInDoubleAndAtLeastOneRuns) {
  const auto run = [](int steps, double strength) { return plan({{"steps", steps}, {"strength", strength}}); };
  EXPECT_EQ(run(50, 0.8).steps_to_run, 40);
  EXPECT_EQ(run(50, 0.8).t_start, 10);
  EXPECT_EQ(run(50, 0.58).steps_to_run, 28);  // 50 * 0.58 is 28.999... in double
  EXPECT_EQ(run(20, 0.01).steps_to_run, 1);
  EXPECT_EQ(run(20, 0.01).t_start, 19);
  EXPECT_EQ(run(1, 0.5).steps_to_run, 1);
  EXPECT_EQ(run(20, 1.0).steps_to_run, 20);
  EXPECT_FALSE(run(20, 1.0).starts_from_noise);
}

TEST(ActionPlan, OnlyEightChannelsAtFullStrengthStartFromNoise) {
  const ActionPlan full = plan({{"strength", 1.0}}, 512, 512, 8);
  EXPECT_TRUE(full.starts_from_noise);
  EXPECT_EQ(full.t_start, 0);
  const ActionPlan nearly = plan({{"strength", 0.9999}}, 512, 512, 8);
  EXPECT_FALSE(nearly.starts_from_noise);
  EXPECT_EQ(nearly.steps_to_run, 19);
}

TEST(ActionPlan, OnePassOnlyWhereTheFormulaReducesToOne) {
  const auto mode = [](double text, double image, std::int64_t channels) {
    return plan({{"guidance_scale", text}, {"image_guidance_scale", image}}, 512, 512, channels).guidance;
  };
  EXPECT_EQ(mode(7.5, 1.5, 4), GuidanceMode::kText);
  EXPECT_EQ(mode(0.5, 1.0, 4), GuidanceMode::kText);
  EXPECT_EQ(mode(1.0, 3.0, 4), GuidanceMode::kNone);
  EXPECT_EQ(mode(7.5, 1.5, 8), GuidanceMode::kTextAndImage);
  EXPECT_EQ(mode(1.0, 1.5, 8), GuidanceMode::kTextAndImage);
  EXPECT_EQ(mode(7.5, 0.9, 8), GuidanceMode::kTextAndImage);
  EXPECT_EQ(mode(1.0, 1.0, 8), GuidanceMode::kNone);
}

TEST(ActionPlan, WhatAModelCannotUseIsNamed) {
  EXPECT_TRUE(plan({{"prompt_2", "a dog"}, {"image_guidance_scale", 3}}, 512, 512, 8, 2).warnings.empty());
  const auto warnings = plan({{"prompt_2", "a dog"}, {"image_guidance_scale", 3}}).warnings;
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("prompt_2"), std::string::npos);
  EXPECT_NE(warnings[1].find("image_guidance_scale 3"), std::string::npos);
  EXPECT_TRUE(plan({{"prompt_2", ""}, {"image_guidance_scale", 1.5}}).warnings.empty());
  EXPECT_TRUE(plan({{"prompt_2", "a cat"}}).warnings.empty());
}

TEST(ActionPlan, SeedIsTheRequestsOrDrawn) {
  EXPECT_EQ(plan({{"seed", 9007199254740991}}).seed, 9007199254740991u);
  EXPECT_EQ(plan({{"seed", 0}}).seed, 0u);
  std::set<std::uint64_t> drawn;
  for (int i = 0; i < 8; ++i) drawn.insert(plan(nlohmann::json::object()).seed);
  EXPECT_GT(drawn.size(), 1u);
}

}  // namespace
}  // namespace i2i
