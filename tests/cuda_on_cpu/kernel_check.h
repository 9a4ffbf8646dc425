// What the tests of half-precision kernels share: inputs, and the tolerance. Truth is the formula in double on the
// rounded inputs. A kernel may be wrong by at most twice what the same formula in fp32, rounded once, is wrong by: in
// the largest error and in the root of the mean square.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "optimized/ops/cuda/element_type.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda {

constexpr double kTimesFloat32 = 2.0;

template <typename T>
constexpr ElementType element_type_of() {
  return std::is_same_v<T, __half> ? ElementType::kFloat16 : ElementType::kBFloat16;
}

template <typename T>
std::vector<T> normal_values(std::size_t count, std::mt19937& random, float deviation = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<T> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(T(distribution(random)));
  return values;
}

struct Errors {
  double largest = 0;
  double mean_square = 0;

  void add(double error, std::size_t count) {
    largest = std::max(largest, std::isnan(error) ? INFINITY : std::abs(error));
    mean_square += error * error / static_cast<double>(count);
  }
};

/// `truth` and `in_fp32` are the formula's results in double and in float.
template <typename T>
void expect_as_good_as_fp32(const std::vector<T>& got, const std::vector<double>& truth,
                            const std::vector<float>& in_fp32) {
  ASSERT_EQ(got.size(), truth.size());
  Errors kernel, formula;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    kernel.add(double{static_cast<float>(got[i])} - truth[i], truth.size());
    formula.add(double{static_cast<float>(T(in_fp32[i]))} - truth[i], truth.size());
  }
  // Where the formula makes no error at all (one key: out is its value), the kernel may make none.
  EXPECT_LE(kernel.largest, kTimesFloat32 * formula.largest);
  EXPECT_LE(std::sqrt(kernel.mean_square), kTimesFloat32 * std::sqrt(formula.mean_square));
}

/// What a launch must leave behind: no issue, instrumented accesses, nothing unwritten.
template <typename T>
void expect_clean_launch(cudaError_t error, const cuda_on_cpu::DeviceBuffer<T>& out) {
  const auto& report = cuda_on_cpu::last_report();
  ASSERT_EQ(error, cudaSuccess) << report.text();
  ASSERT_TRUE(report.clean()) << report.text();
  ASSERT_GT(report.checked_accesses, 0u) << "the kernels are not instrumented";
  ASSERT_EQ(out.unwritten_bytes(), 0u);
}

/// Runs `check` with three seeds, each with another landing of asynchronous copies; `check` gets the seed.
template <typename Check>
void for_seeds_and_landings(Check check) {
  using cuda_on_cpu::AsyncCopies;
  unsigned seed = 1;
  for (const AsyncCopies landing : {AsyncCopies::kAtIssue, AsyncCopies::kAtWait, AsyncCopies::kCoin}) {
    cuda_on_cpu::options().async_copies = landing;
    cuda_on_cpu::options().seed = seed;
    check(seed++);
    if (testing::Test::HasFatalFailure()) break;
  }
  cuda_on_cpu::options() = {};
}

}  // namespace i2i::cuda
