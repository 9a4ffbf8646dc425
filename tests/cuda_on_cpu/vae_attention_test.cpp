// Promise: the attention kernel for the VAE's head of 512, executed on the CPU, equals its formula as closely as fp32
// arithmetic would, in both of its sizes, without bank conflicts. The verdict is "emulated".
#include "optimized/ops/cuda/vae_attention.h"

#include "tests/cuda_on_cpu/attention_formula.h"
#include "tests/cuda_on_cpu/kernel_check.h"
#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda {
namespace {

constexpr int kHead = 512;
constexpr std::size_t kLargeBlock = 163 * 1024, kSmallBlock = 99 * 1024;  // sm_80, and sm_86

template <typename T>
void check_vae_attention(int images, int tokens, std::size_t block_smem, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", " << images << " images of " << tokens
                                  << " tokens, blocks of up to " << block_smem << " bytes, seed " << seed);
  cuda_on_cpu::options().max_dynamic_smem_bytes = block_smem;
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto rows = as_size(images * tokens);
  const std::vector<T> host = random_elements<T>(rows * 3 * kHead, random);
  const DeviceBuffer<T> qkv(host, "qkv"), out(rows * kHead, "out");
  const cudaError_t error = vae_attention(
      self_attention_of(qkv.data(), out.data(), element_type<T>(), images, tokens, 1, kHead, false), nullptr);
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(error, out));
  const AttentionShape s{images, images, tokens, tokens, 1, kHead, false};
  const T* q = host.data();
  expect_as_good_as_float(out.host(), attention_formula<double>(s, q, 3 * kHead, q + kHead, q + 2 * kHead, 3 * kHead),
                          attention_formula<float>(s, q, 3 * kHead, q + kHead, q + 2 * kHead, 3 * kHead));
}

template <typename T>
void check_all_shapes() {
  for (const std::size_t block_smem : {kSmallBlock, kLargeBlock}) {
    in_random_orders_and_landings([&](std::uint64_t seed) {
      check_vae_attention<T>(1, 1, block_smem, seed);
      check_vae_attention<T>(2, 33, block_smem, seed);
      check_vae_attention<T>(1, 64, block_smem, seed);
      check_vae_attention<T>(1, 101, block_smem, seed);
    });
  }
}

TEST(VaeAttentionKernel, Float16MatchesTheFormula) { check_all_shapes<__half>(); }
TEST(VaeAttentionKernel, BFloat16MatchesTheFormula) { check_all_shapes<__nv_bfloat16>(); }

TEST(VaeAttentionKernel, IsCleanInTwentySeeds) {
  for (const std::size_t block_smem : {kSmallBlock, kLargeBlock})
    in_twenty_orders([&] { check_vae_attention<__half>(1, 40, block_smem, 1); });
}

TEST(VaeAttentionKernel, EveryModeOfTheTensorCoresIsCloseEnough) {
  in_other_roundings([] {
    check_vae_attention<__half>(1, 40, kLargeBlock, 2);
    check_vae_attention<__nv_bfloat16>(1, 40, kSmallBlock, 2);
  });
}

TEST(VaeAttentionKernel, HasNoBankConflictsAndReadsWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  for (const std::size_t block_smem : {kSmallBlock, kLargeBlock}) {
    const auto traffic = traffic_of([&] { check_vae_attention<__half>(1, 65, block_smem, 1); });
    EXPECT_GT(traffic.shared_requests, 0u);
    EXPECT_EQ(traffic.shared_wavefronts, traffic.shared_ideal) << traffic.text();
    EXPECT_EQ(traffic.global_sectors, traffic.global_ideal) << traffic.text();
  }
}

TEST(VaeAttentionKernel, RefusesWhatItCannotDo) {
  const DeviceBuffer<__half> memory(16 * 3 * kHead);
  const auto refused = [&](ElementType type, int head_size, bool causal) {
    return vae_attention(self_attention_of(memory.data(), memory.data(), type, 1, 8, 1, head_size, causal), nullptr);
  };
  EXPECT_EQ(refused(ElementType::kFloat16, 256, false), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat16, kHead, true), cudaErrorInvalidValue);
  EXPECT_EQ(refused(ElementType::kFloat32, kHead, false), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
