// Dynamic shared memory is asked for at launch and is no part of an object file: here it is, per kernel, as the
// kernels' own headers have it. Prints lines of "regular expression over kernel names, tab, bytes". Called by
// ci/kernels, which compiles it with g++.
#include <algorithm>
#include <cstdio>

#include "optimized/ops/cuda/attention.cuh"
#include "optimized/ops/cuda/cross_attention.cuh"
#include "optimized/ops/cuda/geglu.cuh"
#include "optimized/ops/cuda/group_norm_silu.cuh"
#include "optimized/ops/cuda/linear.cuh"
#include "optimized/ops/cuda/vae_attention.cuh"

namespace i2i::cuda {
namespace {

// fp16 and bf16 need the same.
template <int D>
void print_attention() {
  std::printf("attention_kernel<.*, %d, .*>\t%zu\n", D, sizeof(AttentionSmem<__half, D>));
}

template <int D, int KeyRows>
void print_cross_attention() {
  constexpr size_t kBytes = sizeof(CrossAttentionSmem<__half, D, KeyRows>);
  if (D <= kLargestHead && kBytes <= kBlockSmemEverywhere)
    std::printf("cross_attention_kernel<.*, %d, %d>\t%zu\n", D, KeyRows, kBytes);
}
template <int D>
void print_cross_attention_of_head_size() {
  print_cross_attention<D, 80>();
  print_cross_attention<D, 160>();
  print_cross_attention<D, 240>();
}

/// The most that a launch may ask for: one pass fills what the call allows; two passes keep two numbers for each
/// channel and group of a run, here with groups of one channel.
void print_group_norm(int vector) {
  const auto fixed = static_cast<size_t>(2 * vector * kGroupNormThreads) * sizeof(float);
  std::printf("group_norm_one_pass_kernel<.*, %d>\t%zu\n", vector, GroupNormSilu{}.shared_bytes - fixed);
  const size_t tables = size_t{64} * vector * 2 * 2 * sizeof(float);
  std::printf("group_norm_partial_kernel<.*, %d>\t%zu\n", vector, tables);
  std::printf("group_norm_apply_kernel<.*, %d>\t%zu\n", vector, tables);
}

void print_all() {
  print_attention<40>();
  print_attention<64>();
  print_attention<80>();
  print_attention<128>();
  print_attention<160>();
  print_cross_attention_of_head_size<40>();
  print_cross_attention_of_head_size<64>();
  print_cross_attention_of_head_size<80>();
  print_cross_attention_of_head_size<128>();
  std::printf("(linear|geglu)_kernel<.*>\t%zu\n", sizeof(GemmSmem<__half>));
  std::printf("vae_attention_kernel<.*, 2>\t%zu\n", sizeof(VaeAttentionSmem<__half, 2>));
  std::printf("vae_attention_kernel<.*, 4>\t%zu\n", sizeof(VaeAttentionSmem<__half, 4>));
  for (const int vector : {8, 4, 1}) print_group_norm(vector);
}

}  // namespace
}  // namespace i2i::cuda

int main() { i2i::cuda::print_all(); }
