// What the tests of kernels share: inputs, element types, orders, and the tolerance. Truth is the test's own formula in
// double on the rounded inputs. A kernel may be wrong by at most twice what the same formula in fp32, rounded once to
// the output's type, is wrong by: in the largest error and in the root of the mean square.
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

constexpr double kTimesFloat32 = 2.0;
constexpr std::uint64_t kSeeds[] = {1, 2, 3};
constexpr const char* kNoTraffic = "sectors and bank conflicts are counted by the checked CPU runtime alone";

template <typename T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, float>) return ElementType::kFloat32;
  if constexpr (std::is_same_v<T, __half>) return ElementType::kFloat16;
  return ElementType::kBFloat16;
}

template <typename T>
constexpr const char* type_name() {
  return std::is_same_v<T, float> ? "fp32" : std::is_same_v<T, __half> ? "fp16" : "bf16";
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

/// `truth` is the formula in double, `in_float` the same formula in fp32, both on the same inputs. Where the formula
/// makes no error at all (one key: out is its value), the kernel may make none.
template <typename T>
void expect_as_good_as_float(const std::vector<T>& output, const std::vector<double>& truth,
                             const std::vector<float>& in_float) {
  ASSERT_EQ(output.size(), truth.size());
  std::vector<T> rounded;
  rounded.reserve(in_float.size());
  for (const float value : in_float) rounded.push_back(T(value));
  const Errors kernel = errors_of(output, truth), once = errors_of(rounded, truth);
  EXPECT_LE(kernel.largest, kTimesFloat32 * once.largest);
  EXPECT_LE(kernel.rms, kTimesFloat32 * once.rms);
}

/// What a launch must leave behind: no issue, nothing unwritten, and, where the runtime watches, that it did.
template <typename... Outputs>
void expect_clean_launch(cudaError_t error, const Outputs&... outputs) {
  const cuda_on_cpu::Report& report = cuda_on_cpu::last_report();
  ASSERT_EQ(error, cudaSuccess) << report.text();
  ASSERT_TRUE(report.clean()) << report.text();
  if (!cuda_on_cpu::checks().accesses) return;
  ASSERT_GT(report.checked_accesses, 0u) << "the kernels are not instrumented";
  for (const std::size_t unwritten : {std::size_t{0}, outputs.unwritten_bytes()...}) ASSERT_EQ(unwritten, 0u);
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

/// Every seed with every landing of asynchronous copies, for kernels that use them.
template <typename Check>
void in_random_orders_and_landings(const Check& check) {
  using cuda_on_cpu::AsyncCopies;
  for (const AsyncCopies landing : {AsyncCopies::kAtIssue, AsyncCopies::kAtWait, AsyncCopies::kCoin}) {
    SCOPED_TRACE(testing::Message() << "landing " << static_cast<int>(landing));
    for (const std::uint64_t seed : kSeeds) {
      SCOPED_TRACE(testing::Message() << "seed " << seed);
      cuda_on_cpu::options().async_copies = landing;
      cuda_on_cpu::options().seed = seed;
      check(seed);
      if (testing::Test::HasFailure()) break;
    }
  }
  cuda_on_cpu::options() = {};
}

/// No false alarm: one input in twenty orders of threads and landings of copies.
template <typename Check>
void in_twenty_orders(const Check& check) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    cuda_on_cpu::options().seed = seed;
    check();
    if (testing::Test::HasFailure()) break;
  }
  cuda_on_cpu::options() = {};
}

/// Other ways in which tensor cores are thought to round, than the fp32 chain of the other tests.
template <typename Check>
void in_other_roundings(const Check& check) {
  for (const auto mode : {cuda_on_cpu::MmaRounding::kExact, cuda_on_cpu::MmaRounding::kTruncating}) {
    SCOPED_TRACE(testing::Message() << "rounding " << static_cast<int>(mode));
    cuda_on_cpu::options().mma = mode;
    check();
  }
  cuda_on_cpu::options() = {};
}

/// What the last launch of `run` asks of memory.
template <typename Run>
cuda_on_cpu::Traffic traffic_of(const Run& run) {
  cuda_on_cpu::options().count_traffic = true;
  run();
  cuda_on_cpu::options() = {};
  return cuda_on_cpu::last_report().traffic;
}

}  // namespace i2i::cuda
