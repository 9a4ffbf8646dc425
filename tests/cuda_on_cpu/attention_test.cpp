// Promise: the attention kernel, executed on the CPU, equals softmax(q k^T / sqrt(d)) v as closely as fp32 arithmetic
// would, at every head size and ragged length, in any order of threads and copies, without bank conflicts. The verdict
// is "emulated".
#include "optimized/ops/cuda/attention.h"

#include "tests/cuda_on_cpu/attention_formula.h"
#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

constexpr int kHeadSizes[] = {32, 40, 64, 80, 128, 160};

template <typename T>
void check_self_attention(const AttentionShape& s, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", head size " << s.head_size << ", " << s.images
                                  << " images of " << s.queries << " tokens, " << s.heads << " heads"
                                  << (s.causal ? ", causal" : "") << ", seed " << seed);
  std::mt19937 random(static_cast<unsigned>(seed));
  const int width = s.heads * s.head_size;
  const auto tokens = as_size(s.images * s.queries), columns = static_cast<std::size_t>(width);
  const std::vector<T> host = random_elements<T>(tokens * 3 * columns, random);
  const DeviceBuffer<T> qkv(host, "qkv"), out(tokens * columns, "out");
  const cudaError_t error = attention(
      self_attention_of(qkv.data(), out.data(), element_type<T>(), s.images, s.queries, s.heads, s.head_size, s.causal),
      nullptr);
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(error, out));
  const T* q = host.data();
  expect_as_good_as_float(out.host(), attention_formula<double>(s, q, 3 * width, q + width, q + 2 * width, 3 * width),
                          attention_formula<float>(s, q, 3 * width, q + width, q + 2 * width, 3 * width));
}

AttentionShape self(int images, int tokens, int heads, int head_size, bool causal = false) {
  return {images, images, tokens, tokens, heads, head_size, causal};
}

template <typename T>
void check_head_size(int head_size) {
  in_random_orders_and_landings([&](std::uint64_t seed) {
    check_self_attention<T>(self(1, 1, 1, head_size), seed);
    check_self_attention<T>(self(2, 33, 2, head_size), seed);
    check_self_attention<T>(self(1, 64, 1, head_size), seed);
    check_self_attention<T>(self(1, 131, 1, head_size), seed);
    check_self_attention<T>(self(1, 77, 1, head_size, true), seed);
  });
}

TEST(AttentionKernel, Float16MatchesTheFormula) {
  for (const int head_size : kHeadSizes) check_head_size<__half>(head_size);
}
TEST(AttentionKernel, BFloat16MatchesTheFormula) {
  for (const int head_size : kHeadSizes) check_head_size<__nv_bfloat16>(head_size);
}

TEST(AttentionKernel, SeveralBlocksOfQueriesSeeAllKeys) {
  check_self_attention<__half>(self(1, 290, 1, 64), 1);
  check_self_attention<__half>(self(1, 290, 1, 64, true), 1);
}

TEST(AttentionKernel, LargeScoresKeepTheirDigits) {
  // Scores of a hundred and more: without the running maximum, 2^x would overflow.
  std::mt19937 random(3);
  const AttentionShape s = self(1, 100, 1, 64);
  const std::vector<__half> host = random_elements<__half>(100 * 3 * 64, random, 0, 8);
  const DeviceBuffer<__half> qkv(host, "qkv"), out(100 * 64, "out");
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(
      attention(self_attention_of(qkv.data(), out.data(), ElementType::kFloat16, 1, 100, 1, 64, false), nullptr), out));
  expect_as_good_as_float(out.host(),
                          attention_formula<double>(s, host.data(), 192, host.data() + 64, host.data() + 128, 192),
                          attention_formula<float>(s, host.data(), 192, host.data() + 64, host.data() + 128, 192));
}

TEST(AttentionKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check_self_attention<__half>(self(1, 130, 1, 64), 1); });
}

TEST(AttentionKernel, HasNoBankConflicts) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  for (const int head_size : kHeadSizes) {
    const auto traffic = traffic_of([&] { check_self_attention<__half>(self(1, 130, 2, head_size), 1); });
    EXPECT_GT(traffic.shared_requests, 0u);
    EXPECT_EQ(traffic.shared_wavefronts, traffic.shared_ideal) << "head size " << head_size << "\n" << traffic.text();
    EXPECT_LE(static_cast<double>(traffic.global_sectors),
              (head_size == 40 ? kSectorsOfHalfAHead : 1.0) * static_cast<double>(traffic.global_ideal))
        << "head size " << head_size << "\n"
        << traffic.text();
  }
}

TEST(AttentionKernel, EveryModeOfTheTensorCoresIsCloseEnough) {
  in_other_roundings([] {
    check_self_attention<__half>(self(1, 100, 1, 64), 2);
    check_self_attention<__nv_bfloat16>(self(1, 70, 1, 40), 2);
  });
}

TEST(AttentionKernel, RefusesWhatItCannotDo) {
  const DeviceBuffer<__half> qkv(64 * 3 * 64), out(64 * 64);
  const auto refused = [&](ElementType type, int head_size, int offset) {
    return attention(self_attention_of(qkv.data() + offset, out.data(), type, 1, 8, 1, head_size, false), nullptr);
  };
  EXPECT_EQ(refused(ElementType::kFloat16, 48, 0), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat32, 64, 0), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat16, 64, 4), cudaErrorInvalidValue);
}

TEST(AttentionKernel, FitsEveryGpuSinceSm80) {
  // sm_86, sm_89 and sm_120 give a block 99 KiB.
  cuda_on_cpu::options().max_dynamic_smem_bytes = 99 * 1024;
  for (const int head_size : kHeadSizes) check_self_attention<__half>(self(1, 16, 1, head_size), 1);
  cuda_on_cpu::options() = {};
}

}  // namespace
}  // namespace i2i::cuda
