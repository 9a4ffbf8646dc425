// Promise: the emulated instructions of sm_80 do what the PTX ISA says, fault by fault and element by element, and the
// traffic counter sees bank conflicts and wasted sectors.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "tests/cuda_on_cpu/instruction_kernels.h"
#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda_on_cpu {
namespace {

std::vector<unsigned char> bytes(std::size_t count) {
  std::vector<unsigned char> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<unsigned char>(i * 7 + 3);
  return values;
}

template <typename Check>
void in_every_landing(Check check) {
  for (const AsyncCopies landing : {AsyncCopies::kAtIssue, AsyncCopies::kAtWait, AsyncCopies::kCoin}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      options().async_copies = landing;
      options().seed = seed;
      check();
    }
  }
  options() = {};
}

TEST(AsyncCopy, CopiesValidBytesAndZeroesTheRest) {
  const auto host = bytes(1024);
  const DeviceBuffer<unsigned char> input(host);
  in_every_landing([&] {
    DeviceBuffer<unsigned char> output(1024);
    const Report report = async_copy(input.data(), output.data(), 50);
    ASSERT_TRUE(report.clean()) << report.text();
    const auto copied = output.host();
    for (std::size_t i = 0; i < 1024; ++i) ASSERT_EQ(copied[i], i < 800 ? host[i] : 0) << i;
  });
}

TEST(AsyncCopy, InvalidCopiesReadNothing) {
  const DeviceBuffer<unsigned char> short_input(bytes(800));
  DeviceBuffer<unsigned char> output(1024);
  EXPECT_TRUE(async_copy(short_input.data(), output.data(), 50).clean());
  DeviceBuffer<unsigned char> again(1024);
  EXPECT_TRUE(async_copy(short_input.data(), again.data(), 51).has("out-of-bounds"));
}

TEST(AsyncCopy, MissingWaitBarrierAndAlignmentAreFound) {
  const DeviceBuffer<unsigned char> input(bytes(1040));
  in_every_landing([&] {
    DeviceBuffer<unsigned char> output(1024);
    AsyncCopyFaults no_wait;
    no_wait.no_wait = true;
    ASSERT_TRUE(async_copy(input.data(), output.data(), 64, no_wait).has("async-in-flight"));
    DeviceBuffer<unsigned char> second(1024);
    AsyncCopyFaults no_barrier;
    no_barrier.no_barrier = true;
    const Report report = async_copy(input.data(), second.data(), 64, no_barrier);
    ASSERT_TRUE(report.has("race") || report.has("async-in-flight") || report.has("uninitialised")) << report.text();
    DeviceBuffer<unsigned char> third(1024);
    AsyncCopyFaults shifted;
    shifted.offset = 8;
    ASSERT_TRUE(async_copy(input.data(), third.data(), 64, shifted).has("misaligned"));
  });
}

TEST(AsyncCopy, WaitGroupLeavesTheYoungestGroups) {
  const auto host = bytes(64);
  const DeviceBuffer<unsigned char> input(host);
  in_every_landing([&] {
    for (int left = 0; left <= 2; ++left) {
      for (int reads = 0; reads < 4; ++reads) {
        DeviceBuffer<unsigned char> output(16);
        const Report report = async_groups(input.data(), output.data(), left, reads);
        ASSERT_EQ(report.clean(), reads < 4 - left) << left << " left, reads " << reads << ": " << report.text();
        if (report.clean()) {
          ASSERT_EQ(output.host()[5], host[static_cast<std::size_t>(16 * reads + 5)]);
        }
      }
    }
  });
}

// PTX ISA, ldmatrix: thread L receives elements 2 (L mod 4) and the next of row L / 4 of each matrix; with .trans, of
// column L / 4.
TEST(Ldmatrix, GivesEveryLaneItsElements) {
  std::vector<unsigned short> host(32 * 8);
  std::iota(host.begin(), host.end(), static_cast<unsigned short>(1));
  const DeviceBuffer<unsigned short> input(host);
  for (const int matrices : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      if (matrices == 1 && transposed) continue;  // no kernel uses it, and device_mma.cuh has none
      DeviceBuffer<unsigned> output(static_cast<std::size_t>(32 * matrices));
      const Report report = load_matrices(input.data(), output.data(), matrices, transposed, 8);
      ASSERT_TRUE(report.clean()) << report.text();
      const auto got = output.host();
      for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned m = 0; m < static_cast<unsigned>(matrices); ++m) {
          const auto element = [&](unsigned row, unsigned column) -> unsigned {
            return host[(8 * m + row) * 8 + column];
          };
          const unsigned i = lane / 4, j = 2 * (lane % 4);
          const unsigned low = transposed ? element(j, i) : element(i, j);
          const unsigned high = transposed ? element(j + 1, i) : element(i, j + 1);
          ASSERT_EQ(got[lane * static_cast<unsigned>(matrices) + m], low + 65536 * high)
              << "lane " << lane << ", matrix " << m << " of " << matrices;
        }
      }
    }
  }
}

TEST(Ldmatrix, MisalignedRowsAndConflictsAreFound) {
  const DeviceBuffer<unsigned short> input(std::vector<unsigned short>(32 * 16, 1));
  DeviceBuffer<unsigned> output(32);
  EXPECT_TRUE(load_matrices(input.data(), output.data(), 1, false, 12).has("misaligned"));
  options().count_traffic = true;
  DeviceBuffer<unsigned> second(32 * 4), third(32 * 4);
  const Report narrow = load_matrices(input.data(), second.data(), 4, false, 8);
  const Report wide = load_matrices(input.data(), third.data(), 4, false, 16);
  options() = {};
  EXPECT_TRUE(narrow.traffic.conflicts.empty()) << narrow.traffic.text();
  // Rows of 32 bytes: eight of them cover the banks twice.
  ASSERT_EQ(wide.traffic.conflicts.size(), 1u) << wide.traffic.text();
  EXPECT_NE(wide.traffic.conflicts[0].find("8 wavefronts, 4 at best"), std::string::npos) << wide.traffic.text();
}

/// Fragments of mma.m16n8k16 as the PTX ISA publishes them: groupID = lane / 4, threadID_in_group = lane mod 4.
/// A: a_i at row groupID (i < 2 or 4 <= i < 6) or groupID + 8, column 2 threadID_in_group + (i & 1) (+ 8 for i >= 4).
/// B: b_i at row 2 threadID_in_group + (i & 1) (+ 8 for i >= 2), column groupID.
/// C: c_i at row groupID (i < 2) or groupID + 8, column 2 threadID_in_group + (i & 1).
struct Product16816 {
  float a[16][16], b[16][8], c[16][8];

  template <typename T>
  void check(Report (*multiply)(const unsigned*, const unsigned*, const float*, float*), double tolerance) const {
    std::vector<T> a_host(32 * 8), b_host(32 * 4);
    std::vector<float> c_host(32 * 4);
    for (unsigned lane = 0; lane < 32; ++lane) {
      const unsigned group = lane / 4, in_group = lane % 4;
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        const unsigned column = 2 * in_group + (i & 1) + (i >= 4 ? 8 : 0);
        a_host[8 * lane + i] = T(a[row][column]);
      }
      for (unsigned i = 0; i < 4; ++i) {
        b_host[4 * lane + i] = T(b[2 * in_group + (i & 1) + (i >= 2 ? 8 : 0)][group]);
        c_host[4 * lane + i] = c[i < 2 ? group : group + 8][2 * in_group + (i & 1)];
      }
    }
    std::vector<unsigned> a_words(32 * 4), b_words(32 * 2);
    std::memcpy(a_words.data(), static_cast<const void*>(a_host.data()), 32 * 16);
    std::memcpy(b_words.data(), static_cast<const void*>(b_host.data()), 32 * 8);
    const DeviceBuffer<unsigned> a_device(a_words), b_device(b_words);
    const DeviceBuffer<float> c_device(c_host), d_device(32 * 4);
    const Report report = multiply(a_device.data(), b_device.data(), c_device.data(), d_device.data());
    ASSERT_TRUE(report.clean()) << report.text();
    ASSERT_EQ(report.matrix_products, 1u);
    const auto d = d_device.host();
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = i < 2 ? lane / 4 : lane / 4 + 8, column = 2 * (lane % 4) + (i & 1);
        double expected = c[row][column];
        for (unsigned k = 0; k < 16; ++k)
          expected += double{static_cast<float>(T(a[row][k]))} * double{static_cast<float>(T(b[k][column]))};
        ASSERT_NEAR(d[4 * lane + i], expected, tolerance) << "lane " << lane << ", c" << i;
      }
    }
  }
};

TEST(Mma, ProductsMatchThePublishedFragments) {
  Product16816 product{};
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (auto& row : product.a) {
    for (float& x : row) x = uniform(random);
  }
  for (auto& row : product.b) {
    for (float& x : row) x = uniform(random);
  }
  for (auto& row : product.c) {
    for (float& x : row) x = uniform(random);
  }
  // 17 terms below 1, 17 roundings (or cuts) of sums below 8: at most 17 * 2^-21.
  for (const MmaRounding mode : {MmaRounding::kFloatChain, MmaRounding::kExact, MmaRounding::kTruncating}) {
    options().mma = mode;
    product.check<__half>(multiply_half, 17.0 / (1 << 21));
    product.check<__nv_bfloat16>(multiply_bfloat, 17.0 / (1 << 21));
  }
  options() = {};
}

float first_sum(MmaRounding mode, float a_value, float b_value, int terms) {
  std::vector<__half> a(32 * 8, __half(0.0f)), b(32 * 4, __half(0.0f));
  for (int k = 0; k < terms; ++k) {
    a[as_size(k / 8 * 4 + k % 8 / 2 * 8 + k % 2)] = __half(a_value);  // row 0
    b[as_size(k / 8 * 2 + k % 8 / 2 * 4 + k % 2)] = __half(b_value);  // column 0
  }
  std::vector<unsigned> a_words(32 * 4), b_words(32 * 2);
  std::memcpy(a_words.data(), static_cast<const void*>(a.data()), 32 * 16);
  std::memcpy(b_words.data(), static_cast<const void*>(b.data()), 32 * 8);
  const DeviceBuffer<unsigned> a_device(a_words), b_device(b_words);
  const DeviceBuffer<float> c(std::vector<float>(32 * 4, 1.0f)), d(32 * 4);
  options().mma = mode;
  EXPECT_TRUE(multiply_half(a_device.data(), b_device.data(), c.data(), d.data()).clean());
  options() = {};
  return d.host()[0];
}

TEST(Mma, RoundsAsTheModeSays) {
  const float tiny = std::ldexp(1.0f, -13);  // 16 products of 2^-26 beside 1: lost one by one, kept together
  EXPECT_EQ(first_sum(MmaRounding::kFloatChain, tiny, tiny, 16), 1.0f);
  EXPECT_EQ(first_sum(MmaRounding::kExact, tiny, tiny, 16), 1.0f + std::ldexp(1.0f, -22));
  EXPECT_EQ(first_sum(MmaRounding::kTruncating, tiny, tiny, 16), 1.0f);
  const float most = 0.75f, ulp = std::ldexp(1.0f, -23);  // three quarters of the last place: rounded up, or cut
  EXPECT_EQ(first_sum(MmaRounding::kFloatChain, most * std::ldexp(1.0f, -11), std::ldexp(1.0f, -12), 1), 1.0f + ulp);
  EXPECT_EQ(first_sum(MmaRounding::kTruncating, most * std::ldexp(1.0f, -11), std::ldexp(1.0f, -12), 1), 1.0f);
}

// mma.m16n8k32 for 8-bit integers: A: a_i at row groupID (i < 4 or 8 <= i < 12) or groupID + 8, column
// 4 threadID_in_group + (i & 3) (+ 16 for i >= 8). B: b_i at row 4 threadID_in_group + (i & 3) (+ 16 for i >= 4).
TEST(Mma, Int8ProductsAreExact) {
  std::mt19937 random(6);
  std::int8_t a[16][32], b[32][8];
  int c[16][8];
  for (auto& row : a) {
    for (auto& x : row) x = static_cast<std::int8_t>(random());
  }
  for (auto& row : b) {
    for (auto& x : row) x = static_cast<std::int8_t>(random());
  }
  for (auto& row : c) {
    for (int& x : row) x = static_cast<int>(random() % 1000);
  }
  std::vector<unsigned> a_words(32 * 4), b_words(32 * 2);
  std::vector<int> c_host(32 * 4);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned group = lane / 4, in_group = lane % 4;
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
      const auto byte = static_cast<std::uint8_t>(a[row][4 * in_group + (i & 3) + (i >= 8 ? 16 : 0)]);
      a_words[4 * lane + i / 4] |= unsigned{byte} << 8 * (i % 4);
    }
    for (unsigned i = 0; i < 8; ++i) {
      const auto byte = static_cast<std::uint8_t>(b[4 * in_group + (i & 3) + (i >= 4 ? 16 : 0)][group]);
      b_words[2 * lane + i / 4] |= unsigned{byte} << 8 * (i % 4);
    }
    for (unsigned i = 0; i < 4; ++i) c_host[4 * lane + i] = c[i < 2 ? group : group + 8][2 * in_group + (i & 1)];
  }
  const DeviceBuffer<unsigned> a_device(a_words), b_device(b_words);
  const DeviceBuffer<int> c_device(c_host), d_device(32 * 4);
  const Report report = multiply_int8(a_device.data(), b_device.data(), c_device.data(), d_device.data());
  ASSERT_TRUE(report.clean()) << report.text();
  const auto d = d_device.host();
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = i < 2 ? lane / 4 : lane / 4 + 8, column = 2 * (lane % 4) + (i & 1);
      int expected = c[row][column];
      for (unsigned k = 0; k < 32; ++k) expected += int{a[row][k]} * int{b[k][column]};
      ASSERT_EQ(d[4 * lane + i], expected) << "lane " << lane << ", c" << i;
    }
  }
}

TEST(Mma, HalfAWarpIsRefused) {
  DeviceBuffer<float> d(32);
  EXPECT_TRUE(partial_warp_product(d.data()).has("partial-warp"));
}

TEST(Traffic, CountsBankConflictsAndSectors) {
  std::vector<float> host(32 * 32);
  std::iota(host.begin(), host.end(), 0.0f);
  const DeviceBuffer<float> input(host);
  DeviceBuffer<float> padded(1024), conflicting(1024), copied(32), spread(32);
  options().count_traffic = true;
  const Traffic good = transpose(input.data(), padded.data(), 33).traffic;
  const Traffic bad = transpose(input.data(), conflicting.data(), 32).traffic;
  const Traffic dense = strided_copy(input.data(), copied.data(), 1).traffic;
  const Traffic sparse = strided_copy(input.data(), spread.data(), 8).traffic;
  options() = {};
  EXPECT_EQ(padded.host(), conflicting.host());
  EXPECT_EQ(padded.host()[1], host[32]);
  EXPECT_EQ(good.shared_wavefronts, 64u) << good.text();
  EXPECT_EQ(good.shared_ideal, 64u);
  EXPECT_EQ(bad.shared_wavefronts, 32u + 32 * 32) << bad.text();
  EXPECT_EQ(bad.shared_ideal, 64u);
  EXPECT_EQ(dense.global_sectors, 8u);
  EXPECT_EQ(dense.global_ideal, 8u);
  EXPECT_EQ(sparse.global_sectors, 32u + 4) << sparse.text();
  EXPECT_EQ(sparse.global_ideal, 8u);
}

TEST(Votes, AgreeOnEveryLane) {
  DeviceBuffer<unsigned> output(32);
  const Report report = votes(output.data());
  ASSERT_TRUE(report.clean()) << report.text();
  EXPECT_EQ(output.host(), std::vector<unsigned>(32, 1));
}

TEST(Launch, RefusesMoreSharedMemoryThanADeviceHas) {
  DeviceBuffer<float> output(1);
  EXPECT_TRUE(dynamic_memory(output.data(), 232448).clean());
  EXPECT_TRUE(dynamic_memory(output.data(), 232449).has("bad-launch"));
}

// 48 KiB come without asking, and static arrays take their part of them: the launch does not see those.
TEST(Launch, CountsStaticArraysToo) {
  DeviceBuffer<float> output(1);
  constexpr std::size_t kStatic = 4096, kWithoutAsking = 48 * 1024;
  EXPECT_TRUE(dynamic_and_static_memory(output.data(), kWithoutAsking - kStatic, false).clean());
  EXPECT_TRUE(dynamic_and_static_memory(output.data(), kWithoutAsking - kStatic + 1, false).has("bad-launch"));
  EXPECT_TRUE(dynamic_and_static_memory(output.data(), kWithoutAsking - kStatic + 1, true).clean());
  EXPECT_TRUE(dynamic_and_static_memory(output.data(), 232448, true).has("bad-launch"));
}

}  // namespace
}  // namespace i2i::cuda_on_cpu
