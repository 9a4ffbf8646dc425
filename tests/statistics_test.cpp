// Promise: intervals hold what they claim, identical code is never called slower, and a real change is.
#include "harness/statistics.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace i2i {
namespace {

std::vector<double> noisy(double mean, double deviation, std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::lognormal_distribution<double> noise(0.0, deviation);
  std::vector<double> values(count);
  for (double& value : values) value = mean * noise(random);
  return values;
}

TEST(Statistics, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

TEST(Statistics, IntervalCoversTheTrueMedianAboutAsOftenAsItSays) {
  int covered = 0;
  constexpr int kTrials = 200;
  for (unsigned trial = 0; trial < kTrials; ++trial) {
    const Interval interval = median_interval(noisy(10, 0.2, 25, trial));
    EXPECT_LE(interval.low, interval.median);
    EXPECT_GE(interval.high, interval.median);
    covered += interval.low <= 10 && interval.high >= 10;
  }
  // 95 % nominal; the percentile bootstrap of a median at n = 25 is known to fall somewhat short or long of it.
  EXPECT_GE(covered, 175);
  EXPECT_LT(covered, kTrials);
}

TEST(Statistics, IsTheSameEachTime) {
  const auto samples = noisy(10, 0.2, 9, 1);
  EXPECT_EQ(median_interval(samples).low, median_interval(samples).low);
}

TEST(Statistics, IdenticalCodeIsRarelyCalledFasterOrSlower) {
  int wrong = 0;
  for (unsigned trial = 0; trial < 200; ++trial) {
    const std::string verdict =
        judge_ratio(paired_ratio(noisy(10, 0.05, 15, 2 * trial), noisy(10, 0.05, 15, 2 * trial + 1)));
    wrong += verdict == "faster" || verdict == "slower";
  }
  EXPECT_LE(wrong, 10);
}

TEST(Statistics, ARealChangeIsFound) {
  EXPECT_EQ(judge_ratio(paired_ratio(noisy(12, 0.02, 15, 1), noisy(10, 0.02, 15, 2))), "faster");
  EXPECT_EQ(judge_ratio(paired_ratio(noisy(10, 0.02, 15, 1), noisy(12, 0.02, 15, 2))), "slower");
  EXPECT_EQ(judge_ratio(paired_ratio(noisy(10, 0.001, 15, 1), noisy(10, 0.001, 15, 2))), "same");
  EXPECT_EQ(judge_ratio(paired_ratio({12}, {10})), "ambiguous") << "one pair proves nothing";
}

TEST(Statistics, PairsThatSlowDownTogetherStillGiveTheirRatio) {
  // The machine became four times slower half way: unpaired medians would say anything.
  const Interval ratio = paired_ratio({20, 20, 80, 80, 80}, {10, 10, 40, 40, 40});
  EXPECT_EQ(ratio.low, 2);
  EXPECT_EQ(ratio.high, 2);
}

TEST(Statistics, RefusesSamplesThatDoNotPair) {
  EXPECT_THROW(paired_ratio({1, 2}, {1}), std::invalid_argument);
  EXPECT_THROW(paired_ratio({}, {}), std::invalid_argument);
}

TEST(Statistics, GeometricMeanOfRatios) {
  EXPECT_NEAR(geometric_mean({Interval{2, 2, 2, {2}}, Interval{8, 8, 8, {8}}}).median, 4, 1e-12);
}

}  // namespace
}  // namespace i2i
