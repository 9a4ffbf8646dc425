#include "harness/statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>

namespace i2i {
namespace {

constexpr int kResamples = 2000;

// Percentile bootstrap of `statistic` over indices 0..count-1; the seed is fixed so that a report can be made again.
void bootstrap(Interval& interval, std::size_t count,
               const std::function<double(const std::vector<std::size_t>&)>& statistic) {
  std::mt19937_64 random(20240229);
  std::uniform_int_distribution<std::size_t> pick(0, count - 1);
  std::vector<std::size_t> indices(count);
  std::vector<double> estimates(kResamples);
  for (double& estimate : estimates) {
    std::generate(indices.begin(), indices.end(), [&] { return pick(random); });
    estimate = statistic(indices);
  }
  std::sort(estimates.begin(), estimates.end());
  interval.low = estimates[kResamples / 40];
  interval.high = estimates[kResamples - 1 - kResamples / 40];
}

Interval of_medians(const std::vector<double>& values) {
  Interval interval;
  interval.samples = values;
  if (values.empty()) return interval;
  interval.median = median(values);
  bootstrap(interval, values.size(), [&](const std::vector<std::size_t>& indices) {
    std::vector<double> resample(indices.size());
    std::transform(indices.begin(), indices.end(), resample.begin(), [&](std::size_t i) { return values[i]; });
    return median(std::move(resample));
  });
  return interval;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle] + *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) / 2;
}

Interval median_interval(const std::vector<double>& samples) { return of_medians(samples); }

Interval paired_ratio(const std::vector<double>& numerator, const std::vector<double>& denominator) {
  if (numerator.size() != denominator.size() || numerator.empty()) {
    throw std::invalid_argument("paired_ratio needs two samples of one length, not 0");
  }
  std::vector<double> ratios(numerator.size());
  std::transform(numerator.begin(), numerator.end(), denominator.begin(), ratios.begin(), std::divides<>());
  return of_medians(ratios);
}

Interval geometric_mean(const std::vector<Interval>& ratios) {
  Interval interval;
  if (ratios.empty()) return interval;
  for (const Interval& ratio : ratios) interval.samples.push_back(ratio.median);
  const auto mean_of = [&](const std::vector<std::size_t>& indices) {
    double sum = 0;
    for (const std::size_t i : indices) sum += std::log(interval.samples[i]);
    return std::exp(sum / static_cast<double>(indices.size()));
  };
  std::vector<std::size_t> all(ratios.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  interval.median = mean_of(all);
  bootstrap(interval, ratios.size(), mean_of);
  return interval;
}

std::string judge_ratio(const Interval& ratio, double margin) {
  if (ratio.samples.size() < 2) return "ambiguous";
  if (ratio.low > 1 + margin) return "faster";
  if (ratio.high < 1 - margin) return "slower";
  if (ratio.low >= 1 - margin && ratio.high <= 1 + margin) return "same";
  return "ambiguous";
}

}  // namespace i2i
