// Promise: `i2i compare` says what changed between two runs of a sweep and nothing else: a faster operator is named
// with its step, a picture that moved is drift, noise is no change, and a busy machine is no regression.
#include "harness/store_comparison.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "interface/source_image.h"

namespace i2i {
namespace {

Interval around(double median, double spread = 0.005) {
  return {median, median * (1 - spread), median * (1 + spread), {median, median * (1 - spread), median * (1 + spread)}};
}

std::string png_with(std::uint8_t level, int changed_pixels = 0, std::uint8_t by = 1) {
  Image image{48, 48, std::vector<std::uint8_t>(48 * 48 * 3)};
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(level + (i * 7) % 90);
  for (int i = 0; i < changed_pixels; ++i) image.rgb[static_cast<std::size_t>(i) * 31 % image.rgb.size()] += by;
  const auto bytes = encode_png(image);
  return {bytes.begin(), bytes.end()};
}

constexpr int kSteps = 10;

// One timed cell: 10 steps of 10 ms, 4 of them attention; `step_7` scales the attention of step 7 alone, `attention`
// that of all steps, `machine` everything on both sides.
Report a_report(double attention = 1, double step_7 = 1, double machine = 1,
                const std::string& picture = png_with(20)) {
  CellRow row;
  row.axes = {{"steps", "10"}};
  row.verdict = "passed";
  row.optimized_png = picture;
  ImplementationRow reference, optimized;
  reference.implementation = "reference";
  reference.total_ms = around(200 * machine);
  optimized.implementation = "optimized";
  double total = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double ms = 4 * attention * (step == 6 ? step_7 : 1);
    optimized.operators.push_back({"unet", step, "i2i::self_attention", "attention", 7, around(ms * machine)});
    optimized.operators.push_back({"unet", step, "i2i::linear", "linear", 9, around(6 * machine)});
    total += ms + 6;
  }
  optimized.total_ms = around(total * machine);
  row.implementations = {reference, optimized};
  row.speedup = around(200 / total);
  Report report;
  report.cells = {row};
  return report;
}

CellComparison compared(const Report& before, const Report& after) {
  const auto rows = compare_reports(before, after, 0.05);
  EXPECT_EQ(rows.size(), 1u);
  return rows.at(0);
}

TEST(StoreComparison, TheSameIsTheSame) {
  const CellComparison row = compared(a_report(), a_report());
  EXPECT_EQ(row.verdict, "same");
  EXPECT_TRUE(row.operators.empty());
  ASSERT_TRUE(row.drift.has_value());
  EXPECT_TRUE(row.drift->identical);
}

TEST(StoreComparison, AFasterOperatorIsNamed) {
  const CellComparison row = compared(a_report(), a_report(0.8));
  EXPECT_EQ(row.verdict, "faster");
  ASSERT_EQ(row.operators.size(), 1u) << "all steps changed alike: one line, not eleven";
  EXPECT_EQ(row.operators[0].name, "i2i::self_attention");
  EXPECT_EQ(row.operators[0].step, -1);
  EXPECT_EQ(row.operators[0].verdict, "faster");
  EXPECT_NEAR(row.operators[0].ratio.median, 1.25, 1e-6);
  EXPECT_NEAR(row.operators[0].after_ms, 32, 0.1);
}

TEST(StoreComparison, AChangeInOneStepIsNamedWithItsStep) {
  const CellComparison row = compared(a_report(), a_report(1, 0.88));
  EXPECT_EQ(row.verdict, "same") << "half a millisecond of a hundred";
  ASSERT_EQ(row.operators.size(), 1u);
  EXPECT_EQ(row.operators[0].step, 6);
  EXPECT_EQ(row.operators[0].name, "i2i::self_attention");
  EXPECT_EQ(row.operators[0].verdict, "faster");
  EXPECT_NEAR(row.operators[0].ratio.median, 1 / 0.88, 1e-6);
  const CellComparison slower = compared(a_report(), a_report(1, 1.5));
  ASSERT_EQ(slower.operators.size(), 1u);
  EXPECT_EQ(slower.operators[0].step, 6);
  EXPECT_EQ(slower.operators[0].verdict, "slower");
}

TEST(StoreComparison, ABusyMachineIsNoRegression) {
  const CellComparison row = compared(a_report(), a_report(1, 1, 1.7));
  EXPECT_EQ(row.verdict, "same");
  EXPECT_TRUE(row.operators.empty());
}

TEST(StoreComparison, RoundingIsNoDriftAndAPictureThatMovedIs) {
  const CellComparison rounding = compared(a_report(), a_report(1, 1, 1, png_with(20, 5)));
  EXPECT_EQ(rounding.verdict, "same");
  ASSERT_TRUE(rounding.drift.has_value());
  EXPECT_FALSE(rounding.drift->identical);
  EXPECT_FALSE(rounding.drift->seen);
  const CellComparison moved = compared(a_report(), a_report(0.5, 1, 1, png_with(20, 400, 60)));
  EXPECT_EQ(moved.verdict, "drifted") << "however much faster";
  EXPECT_TRUE(moved.drift->seen);
}

TEST(StoreComparison, FailuresAndNewCellsAreSaid) {
  Report failed = a_report();
  failed.cells[0].verdict = "failed";
  EXPECT_EQ(compared(a_report(), failed).verdict, "newly failed");
  Report other = a_report();
  other.cells[0].axes = {{"steps", "11"}};
  EXPECT_EQ(compared(a_report(), other).verdict, "no baseline");
}

}  // namespace
}  // namespace i2i
