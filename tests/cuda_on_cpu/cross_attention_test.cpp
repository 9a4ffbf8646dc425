// Promise: the cross-attention kernel, executed on the CPU, equals its formula as closely as fp32 arithmetic would, for
// one or two prompts of keys and more keys than fit, any number of queries, each image with its own condition. The
// verdict is "emulated".
#include "optimized/ops/cuda/cross_attention.h"

#include "tests/cuda_on_cpu/attention_formula.h"
#include "tests/cuda_on_cpu/kernel_check.h"
#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda {
namespace {

constexpr int kHeadSizes[] = {32, 40, 64, 80, 128, 160};

template <typename T>
void check_cross_attention(const AttentionShape& s, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", head size " << s.head_size << ", " << s.images << " images, "
                                  << s.conditions << " conditions, " << s.queries << " queries, " << s.keys << " keys, "
                                  << s.heads << " heads, seed " << seed);
  std::mt19937 random(static_cast<unsigned>(seed));
  const int width = s.heads * s.head_size;
  const auto columns = static_cast<std::size_t>(width), rows = as_size(s.images * s.queries);
  const auto key_rows = as_size(s.conditions * s.keys);
  const std::vector<T> query_host = random_elements<T>(rows * columns, random);
  const std::vector<T> key_value_host = random_elements<T>(key_rows * 2 * columns, random);
  const DeviceBuffer<T> query(query_host, "query"), key_value(key_value_host, "key_value"), out(rows * columns, "out");
  const cudaError_t error =
      cross_attention(cross_attention_of(query.data(), key_value.data(), out.data(), element_type<T>(), s.images,
                                         s.conditions, s.queries, s.keys, s.heads, s.head_size),
                      nullptr);
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(error, out));
  const T *q = query_host.data(), *k = key_value_host.data();
  expect_as_good_as_float(out.host(), attention_formula<double>(s, q, width, k, k + width, 2 * width),
                          attention_formula<float>(s, q, width, k, k + width, 2 * width));
}

template <typename T>
void check_head_size(int head_size) {
  in_random_orders_and_landings([&](std::uint64_t seed) {
    check_cross_attention<T>({1, 1, 1, 77, 1, head_size, false}, seed);
    check_cross_attention<T>({4, 2, 65, 77, 2, head_size, false}, seed);
    check_cross_attention<T>({2, 2, 50, 154, 1, head_size, false}, seed);
    check_cross_attention<T>({1, 1, 64, 240, 1, head_size, false}, seed);
    check_cross_attention<T>({1, 1, 20, 257, 1, head_size, false}, seed);
    check_cross_attention<T>({3, 2, 17, 1, 1, head_size, false}, seed);
  });
}

TEST(CrossAttentionKernel, Float16MatchesTheFormula) {
  for (const int head_size : kHeadSizes) check_head_size<__half>(head_size);
}
TEST(CrossAttentionKernel, BFloat16MatchesTheFormula) {
  for (const int head_size : kHeadSizes) check_head_size<__nv_bfloat16>(head_size);
}

TEST(CrossAttentionKernel, ABlockWalksOverSeveralTilesOfQueries) {
  // 2 * 4 * 129 tiles are two for each of 512 blocks; the last run has one tile, and that one row.
  check_cross_attention<__half>({2, 1, 64 * 128 + 1, 5, 4, 40, false}, 1);
}

TEST(CrossAttentionKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check_cross_attention<__half>({1, 1, 100, 77, 1, 64, false}, 1); });
}

TEST(CrossAttentionKernel, EveryModeOfTheTensorCoresIsCloseEnough) {
  in_other_roundings([] {
    check_cross_attention<__half>({1, 1, 65, 77, 1, 64, false}, 2);
    check_cross_attention<__nv_bfloat16>({1, 1, 33, 154, 1, 40, false}, 2);
  });
}

TEST(CrossAttentionKernel, HasNoBankConflicts) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  for (const int head_size : kHeadSizes) {
    for (const int keys : {77, 154}) {
      const auto traffic = traffic_of([&] { check_cross_attention<__half>({1, 1, 70, keys, 2, head_size, false}, 1); });
      EXPECT_GT(traffic.shared_requests, 0u);
      EXPECT_EQ(traffic.shared_wavefronts, traffic.shared_ideal) << "head size " << head_size << "\n" << traffic.text();
      EXPECT_LE(static_cast<double>(traffic.global_sectors),
                (head_size == 40 ? kSectorsOfHalfAHead : 1.0) * static_cast<double>(traffic.global_ideal))
          << "head size " << head_size << "\n"
          << traffic.text();
    }
  }
}

TEST(CrossAttentionKernel, FitsEveryGpuSinceSm80) {
  cuda_on_cpu::options().max_dynamic_smem_bytes = 99 * 1024;
  for (const int head_size : kHeadSizes) {
    for (const int keys : {77, 154, 240}) check_cross_attention<__half>({1, 1, 10, keys, 1, head_size, false}, 1);
  }
  cuda_on_cpu::options() = {};
}

TEST(CrossAttentionKernel, RefusesWhatItCannotDo) {
  const DeviceBuffer<__half> memory(64 * 64);
  const auto refused = [&](ElementType type, int head_size, int keys) {
    return cross_attention(
        cross_attention_of(memory.data(), memory.data(), memory.data(), type, 1, 1, 8, keys, 1, head_size), nullptr);
  };
  EXPECT_EQ(refused(ElementType::kFloat16, 48, 8), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat32, 64, 8), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat16, 64, 0), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
