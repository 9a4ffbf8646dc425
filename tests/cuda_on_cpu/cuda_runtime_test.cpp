// Promise: the CPU runtime finds each kind of fault it claims to find, in every seed, and is silent on clean kernels.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/cuda_on_cpu/faulty_kernels.h"

namespace i2i::cuda_on_cpu {
namespace {

constexpr std::uint64_t kSeeds = 20;

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

// Runs in order, in reverse and in 20 random orders; `check` sees each report.
template <typename Run, typename Check>
void in_every_order(const Run& run_kernel, const Check& check) {
  for (const Order order : {Order::kInOrder, Order::kReverse, Order::kRandom}) {
    for (std::uint64_t seed = 1; seed <= (order == Order::kRandom ? kSeeds : 1); ++seed) {
      options().order = order;
      options().seed = seed;
      const Report report = run_kernel();
      ASSERT_NO_FATAL_FAILURE(check(report)) << "seed " << seed;
    }
  }
  options() = {};
}

void expect_clean(const Report& report) {
  ASSERT_TRUE(report.clean()) << report.text();
  ASSERT_GT(report.checked_accesses, 0u) << "the kernels are not instrumented";
}

// A missing barrier shows as a race or, where nobody has written yet, as a read of nothing.
Report seen_as_race() {
  Report report;
  report.issues.push_back({"race", "seen as uninitialised"});
  return report;
}

auto expect_issue(const std::string& kind) {
  return [kind](const Report& report) { ASSERT_TRUE(report.has(kind)) << "no " << kind << " in: " << report.text(); };
}

TEST(CudaRuntime, CleanKernelsAreSilentAndRight) {
  const DeviceBuffer<float> input(counting(64));
  in_every_order(
      [&] {
        DeviceBuffer<float> output(1);
        const Report report = block_sum(input.data(), output.data(), true);
        EXPECT_EQ(output.host()[0], 64 * 65 / 2);
        return report;
      },
      expect_clean);
  in_every_order(
      [&] {
        DeviceBuffer<float> output(1);
        const Report report = warp_sum(input.data(), output.data(), 0xffffffffu, 32);
        EXPECT_EQ(output.host()[0], 32 * 33 / 2);
        return report;
      },
      expect_clean);
  in_every_order(
      [&] {
        DeviceBuffer<float> output(50);
        const Report report = copy(input.data(), output.data(), 50, 0, 0);
        EXPECT_EQ(output.unwritten_bytes(), 0u);
        return report;
      },
      expect_clean);
  in_every_order(
      [&] {
        DeviceBuffer<float> output(std::vector<float>{0.0f}, "sum", false);
        const Report report = two_blocks_one_element(output.data(), true);
        EXPECT_EQ(output.host()[0], 2.0f);
        return report;
      },
      expect_clean);
  in_every_order(
      [&] {
        DeviceBuffer<float> output(32);
        return warp_exchange(output.data(), true);
      },
      expect_clean);
}

TEST(CudaRuntime, FindsAMissingBarrier) {
  const DeviceBuffer<float> input(counting(64));
  in_every_order(
      [&] {
        DeviceBuffer<float> output(1);
        const Report report = block_sum(input.data(), output.data(), false);
        // In order, thread 0 reads what nobody wrote yet; in reverse, what others wrote in the same interval.
        return report.has("uninitialised") ? seen_as_race() : report;
      },
      expect_issue("race"));
}

TEST(CudaRuntime, FindsLanesMissingFromAMask) {
  const DeviceBuffer<float> input(counting(32));
  in_every_order(
      [&] {
        DeviceBuffer<float> output(1);
        return warp_sum(input.data(), output.data(), 0xffffffffu, 24);
      },
      expect_issue("bad-mask"));
  in_every_order(
      [&] {
        DeviceBuffer<float> output(1);
        return warp_sum(input.data(), output.data(), 0x0000ffffu, 32);
      },
      expect_issue("bad-mask"));
}

TEST(CudaRuntime, FindsAccessesOutOfBounds) {
  const DeviceBuffer<float> input(counting(50));
  in_every_order(
      [&] {
        DeviceBuffer<float> output(50);
        return copy(input.data(), output.data(), 50, 1, 0);
      },
      expect_issue("out-of-bounds"));
}

TEST(CudaRuntime, CountsBytesThatNobodyWrote) {
  const DeviceBuffer<float> input(counting(50));
  DeviceBuffer<float> output(50);
  EXPECT_TRUE(copy(input.data(), output.data(), 50, 0, 3).clean());
  EXPECT_EQ(output.unwritten_bytes(), 3 * sizeof(float));
}

TEST(CudaRuntime, FindsARaceBetweenBlocks) {
  in_every_order(
      [] {
        DeviceBuffer<float> output(1);
        return two_blocks_one_element(output.data(), false);
      },
      expect_issue("race"));
}

TEST(CudaRuntime, FindsAMisalignedVectorLoad) {
  const DeviceBuffer<float> input(counting(8));
  DeviceBuffer<float> output(4);
  EXPECT_TRUE(vector_copy(input.data(), output.data(), 4).clean());
  EXPECT_TRUE(vector_copy(input.data(), output.data(), 2).has("misaligned"));
}

TEST(CudaRuntime, FindsDivergentBarriers) {
  in_every_order(
      [] {
        DeviceBuffer<float> output(64);
        return divergent_barriers(output.data());
      },
      expect_issue("divergent-barrier"));
}

TEST(CudaRuntime, FindsThreadsThatLeftBeforeABarrier) {
  in_every_order(
      [] {
        DeviceBuffer<float> output(64);
        return exit_before_barrier(output.data());
      },
      expect_issue("barrier-after-exit"));
}

TEST(CudaRuntime, FindsReadsOfUnwrittenMemory) {
  in_every_order(
      [] {
        DeviceBuffer<float> output(32);
        return unwritten_shared(output.data());
      },
      expect_issue("uninitialised"));
  const DeviceBuffer<float> unfilled(50, "unfilled");
  DeviceBuffer<float> output(50);
  EXPECT_TRUE(copy(unfilled.data(), output.data(), 50, 0, 0).has("uninitialised"));
}

TEST(CudaRuntime, FindsAMissingSyncwarp) {
  in_every_order(
      [] {
        DeviceBuffer<float> output(32);
        const Report report = warp_exchange(output.data(), false);
        return report.has("uninitialised") ? seen_as_race() : report;
      },
      expect_issue("race"));
}

TEST(CudaRuntime, FindsAWriteToAnInput) {
  const DeviceBuffer<float> input(counting(50));
  const DeviceBuffer<float> output(counting(50), "an input");
  EXPECT_TRUE(copy(input.data(), output.data(), 50, 0, 0).has("read-only"));
}

TEST(CudaRuntime, NamesFileAndLine) {
  const DeviceBuffer<float> unfilled(50, "unfilled");
  DeviceBuffer<float> output(50);
  const Report report = copy(unfilled.data(), output.data(), 50, 0, 0);
  EXPECT_NE(report.text().find("faulty_kernels.cpp:"), std::string::npos) << report.text();
}

}  // namespace
}  // namespace i2i::cuda_on_cpu
