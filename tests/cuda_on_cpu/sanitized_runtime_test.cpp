// Promise: the build with AddressSanitizer and UndefinedBehaviorSanitizer finds what the shadow cannot (scalar accesses
// out of a shared or a local array, undefined arithmetic), on a fiber's stack as on any other, and is silent on clean
// kernels however often they change stacks.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/cuda_on_cpu/faulty_kernels.h"

namespace i2i::cuda_on_cpu {
namespace {

TEST(SanitizedRuntime, FindsAStoreBeyondASharedArray) {
  DeviceBuffer<float> output(1);
  EXPECT_TRUE(store_to_shared(output.data(), 63).clean());
  EXPECT_DEATH(store_to_shared(output.data(), 64), "AddressSanitizer: use-after-poison");
  EXPECT_DEATH(store_to_shared(output.data(), -1), "AddressSanitizer: use-after-poison");
}

TEST(SanitizedRuntime, FindsAStoreBeyondALocalArray) {
  DeviceBuffer<float> output(1);
  EXPECT_TRUE(store_to_local(output.data(), 7).clean());
  EXPECT_DEATH(store_to_local(output.data(), 8), "AddressSanitizer: stack-buffer-overflow");
  // Named overflow too where another local variable lies before the array.
  EXPECT_DEATH(store_to_local(output.data(), -1), "AddressSanitizer: stack-buffer-(under|over)flow");
}

TEST(SanitizedRuntime, FindsAnIndexThatTheArrayDoesNotHave) {
  DeviceBuffer<float> output(1);
  EXPECT_TRUE(store_by_name(output.data(), 63).clean());
  EXPECT_DEATH(store_by_name(output.data(), 64), "runtime error: index 64 out of bounds");
}

TEST(SanitizedRuntime, FindsGlobalMemoryOutOfBounds) {
  std::vector<float> host(50);
  const DeviceBuffer<float> input(host);
  DeviceBuffer<float> output(50);
  EXPECT_TRUE(copy(input.data(), output.data(), 50, 0, 0).clean());
  EXPECT_DEATH(copy(input.data(), output.data(), 50, 1, 0), "AddressSanitizer: use-after-poison");
}

TEST(SanitizedRuntime, IsSilentOnCleanKernelsInTwentySeeds) {
  std::vector<float> host(64);
  std::iota(host.begin(), host.end(), 1.0f);
  const DeviceBuffer<float> input(host);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    options().seed = seed;
    DeviceBuffer<float> sum(1), warp(1), exchanged(32);
    EXPECT_TRUE(block_sum(input.data(), sum.data(), true).clean());
    EXPECT_EQ(sum.host()[0], 64 * 65 / 2);
    EXPECT_TRUE(warp_sum(input.data(), warp.data(), 0xffffffffu, 32).clean());
    EXPECT_EQ(warp.host()[0], 32 * 33 / 2);
    EXPECT_TRUE(warp_exchange(exchanged.data(), true).clean());
  }
  options() = {};
}

// A kernel that is abandoned leaves frames on its fibers' stacks; the next one must not meet their poison.
TEST(SanitizedRuntime, GoesOnAfterAKernelThatWasAbandoned) {
  std::vector<float> host(64);
  const DeviceBuffer<float> input(host);
  for (int round = 0; round < 3; ++round) {
    DeviceBuffer<float> output(1);
    EXPECT_TRUE(warp_sum(input.data(), output.data(), 0x0000ffffu, 32).has("bad-mask"));
    DeviceBuffer<float> again(1);
    EXPECT_TRUE(block_sum(input.data(), again.data(), true).clean());
  }
}

}  // namespace
}  // namespace i2i::cuda_on_cpu
