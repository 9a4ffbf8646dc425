// What the tests of kernels over rows share: random inputs, element types, and the tolerance: twice the error that the
// test's own formula makes when it is evaluated in fp32 and rounded once to the output's type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "optimized/ops/cuda/element_type.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda {

using cuda_on_cpu::DeviceBuffer;

constexpr std::uint64_t kSeeds[] = {1, 2, 3};

template <typename T>
ElementType element_type() {
  if constexpr (std::is_same_v<T, float>) return ElementType::kFloat32;
  if constexpr (std::is_same_v<T, __half>) return ElementType::kFloat16;
  return ElementType::kBFloat16;
}

/// mean + deviation * a normal draw, rounded to T.
template <typename T>
std::vector<T> random_elements(std::size_t count, std::mt19937& random, float mean = 0, float deviation = 1) {
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<T> values(count);
  for (T& value : values) value = T(distribution(random));
  return values;
}

template <typename Real, typename T>
std::vector<Real> as(const std::vector<T>& values) {
  std::vector<Real> result;
  result.reserve(values.size());
  for (const T& value : values) result.push_back(static_cast<Real>(static_cast<float>(value)));
  return result;
}

struct Errors {
  double largest = 0;
  double rms = 0;
};

template <typename T>
Errors errors_of(const std::vector<T>& values, const std::vector<double>& truth) {
  Errors errors;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double error = std::abs(static_cast<double>(static_cast<float>(values[i])) - truth[i]);
    // Written so that NaN counts as infinitely wrong.
    if (!(error <= errors.largest)) errors.largest = std::isnan(error) ? HUGE_VAL : error;
    errors.rms += error * error;
  }
  errors.rms = std::sqrt(errors.rms / static_cast<double>(std::max<std::size_t>(truth.size(), 1)));
  return errors;
}

/// `truth` is the formula in double, `in_float` the same formula in fp32, both on the same inputs. The largest and the
/// root mean square error may each be at most twice those of fp32 rounded once.
template <typename T>
void expect_as_good_as_float(const std::vector<T>& output, const std::vector<double>& truth,
                             const std::vector<float>& in_float) {
  ASSERT_EQ(output.size(), truth.size());
  std::vector<T> rounded;
  rounded.reserve(in_float.size());
  for (const float value : in_float) rounded.push_back(T(value));
  const Errors kernel = errors_of(output, truth), once = errors_of(rounded, truth);
  EXPECT_LE(kernel.largest, 2 * once.largest);
  EXPECT_LE(kernel.rms, 2 * once.rms);
}

/// Whether the latest launch had nothing to say and was watched.
inline void expect_clean_launch() {
  const cuda_on_cpu::Report& report = cuda_on_cpu::last_report();
  EXPECT_TRUE(report.clean()) << report.text();
  EXPECT_GT(report.checked_accesses, 0u) << "the kernels are not instrumented";
}

/// Runs `check` once for each random order of the threads, then leaves the options as they were.
template <typename Check>
void in_random_orders(const Check& check) {
  for (const std::uint64_t seed : kSeeds) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    cuda_on_cpu::options().seed = seed;
    check(seed);
    if (testing::Test::HasFailure()) break;
  }
  cuda_on_cpu::options() = {};
}

}  // namespace i2i::cuda
