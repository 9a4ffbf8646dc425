// Promise: the counted work of a step is the network's: one transformer block and one residual block agree with a count
// by hand, and whole steps with known totals; bounds are the longer of arithmetic and memory; the page says all.
#include "harness/bounds.h"

#include <gtest/gtest.h>

#include <numeric>

#include "interface/error.h"
#include "interface/synthetic_model.h"

namespace i2i {
namespace {

ModelConfig config_of(const std::string& name) {
  for (const SyntheticModel& model : synthetic_models()) {
    if (model.name != name) continue;
    ModelConfig config = model.config();
    config.name = name;
    return config;
  }
  throw std::runtime_error("no model " + name);
}

const PartSum& part_of(const std::vector<PartSum>& sums, const std::string& part) {
  for (const PartSum& sum : sums) {
    if (sum.part == part) return sum;
  }
  throw std::runtime_error("no part " + part);
}

BoundOptions plain() {
  BoundOptions options;
  options.plain = true;
  return options;
}

// Totals of an independent count over the published networks, with every operator that diffusers runs in a step (text
// keys and values among them).
TEST(Bounds, StepsHaveTheKnownOperations) {
  const std::pair<const char*, double> known[] = {{"synthetic:sdxl", 13.53e12},
                                                  {"synthetic:sd15", 1.608e12},
                                                  {"synthetic:sd21", 4.30e12},
                                                  {"synthetic:sd15-ip2p", 2.41e12}};
  for (const auto& [model, flops] : known) {
    const auto sums = sum_parts(bounds_report(config_of(model), plain()));
    EXPECT_NEAR(part_of(sums, "UNet step").flops, flops, 0.01 * flops) << model;
  }
  BoundOptions at_1024 = plain();
  at_1024.width = at_1024.height = 1024;
  const auto sums = sum_parts(bounds_report(config_of("synthetic:sdxl"), at_1024));
  EXPECT_NEAR(part_of(sums, "VAE decode").flops, 10.5e12, 0.03 * 10.5e12);
  EXPECT_NEAR(part_of(sums, "VAE encode").flops, 4.9e12, 0.03 * 4.9e12);
}

// SDXL's 64 x 64 level, two rows of guidance, by hand: 8192 tokens of 640 channels. Multiplications and additions of
// the eleven products of a block: proj_in and proj_out are outside, so q, k, v, out, q, out are six squares of 640;
// keys and values of the text come once a request; the feed-forward is 640 to 5120 and 2560 to 640.
TEST(Bounds, ATransformerBlockIsCountedByHand) {
  constexpr double kTokens = 2 * 4096, kWidth = 640;
  constexpr double kSquares = 6 * 2 * kTokens * kWidth * kWidth;
  constexpr double kFeedForward = 2 * kTokens * kWidth * 5120 + 2 * kTokens * 2560 * kWidth;
  constexpr double kSelf = 2 * (2 * kTokens * 4096 * kWidth), kCross = 2 * (2 * kTokens * 77 * kWidth);
  static_assert(kSquares + kFeedForward + kSelf + kCross ==
                40265318400.0 + 80530636800.0 + 85899345920.0 + 1614807040.0);
  // Two transformer layers in each of 2 + 3 transformers of this level, each with two more squares around them.
  constexpr double kTransformers = 5;
  double counted = 0;
  for (const BoundRow& row : bound_rows(config_of("synthetic:sdxl"), {})) {
    const bool of_level = row.shape.starts_with("[8192, ") || row.shape.starts_with("10 heads of 64");
    if (row.part == "UNet step" && of_level) counted += row.calls * row.flops;
  }
  EXPECT_DOUBLE_EQ(counted, kTransformers * (2 * (kSquares + kFeedForward + kSelf + kCross) + kSquares / 3));
}

// A residual block of that level that widens 320 to 640: two 3 x 3 convolutions and a 1 x 1.
TEST(Bounds, AConvolutionIsCountedByHand) {
  for (const BoundRow& row : bound_rows(config_of("synthetic:sdxl"), {})) {
    if (row.shape != "3x3 320 to 640, 64x64 to 64x64") continue;
    EXPECT_EQ(row.calls, 1);
    EXPECT_EQ(row.flops, 2.0 * 2 * 64 * 64 * 640 * 320 * 9);
    EXPECT_EQ(row.bytes, 2.0 * (2 * 64 * 64 * 320 + 9 * 320 * 640 + 2 * 64 * 64 * 640));
    return;
  }
  FAIL() << "no such convolution";
}

TEST(Bounds, FoldingAndCachingTakeWorkAway) {
  const ModelConfig config = config_of("synthetic:sdxl");
  const auto ours = sum_parts(bounds_report(config, {})), as_diffusers = sum_parts(bounds_report(config, plain()));
  // Two enlargements: 4 of 9 taps are left; and 70 products of the text.
  const double enlarged = 2.0 * 2 * (64 * 64 * 1280.0 * 1280 + 128 * 128 * 640.0 * 640) * 9;
  const double text = 2.0 * 2 * 77 * 2048 * 2 * (10 * 640.0 + 60 * 1280);
  EXPECT_NEAR(part_of(as_diffusers, "UNet step").flops - part_of(ours, "UNet step").flops, enlarged * 5 / 9 + text, 1);
}

TEST(Bounds, TheLongerOfArithmeticAndMemoryDecides) {
  const GpuRow gpu{"toy", 1e12, 1e9, ""};
  EXPECT_EQ(bound_us({"", "", "", 1, 1e6, 1e6}, gpu), 1000);
  EXPECT_EQ(bound_us({"", "", "", 1, 1e3, 1e9}, gpu), 1000);
}

TEST(Bounds, ThePageNamesEveryKernelGpuAndSource) {
  const BoundsReport report = bounds_report(config_of("synthetic:sdxl"), {});
  const std::string page = bounds_page(report), markdown = bounds_markdown(report), json = bounds_json(report);
  for (const BoundRow& row : report.rows) {
    EXPECT_NE(page.find(row.shape), std::string::npos) << row.shape;
    EXPECT_NE(markdown.find(row.shape), std::string::npos) << row.shape;
  }
  ASSERT_EQ(report.gpus.size(), 4u);
  ASSERT_GE(report.published.size(), 2u);
  for (const GpuRow& gpu : report.gpus) EXPECT_NE(page.find(gpu.source), std::string::npos) << gpu.name;
  for (const PublishedRow& row : report.published) EXPECT_NE(page.find(row.source), std::string::npos);
  EXPECT_NE(json.find("\"ms_by_flops\""), std::string::npos);
}

TEST(Bounds, SizesThatDoNotFitAreRefused) {
  BoundOptions options;
  options.width = 1023;
  try {
    bound_rows(config_of("synthetic:sdxl"), options);
    FAIL() << "1023 pixels were accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a side of 1023 pixels is no multiple of 8, the model's factor");
  }
}

}  // namespace
}  // namespace i2i
