// Attention over any number of keys. Grid: (tiles of queries, heads, images); block: four warps, each with its own
// queries; keys and values pass through shared memory in tiles, the next one copied while this one is multiplied.
// Bytes: queries and out once, keys and values once for each tile of queries (mostly from the second-level cache). fp32
// sums; weights are rounded to T before they meet the values. Answers to self_attention in optimized/ops.inc.
#pragma once

#include "optimized/ops/cuda/attention.h"
#include "optimized/ops/cuda/attention_core.cuh"

namespace i2i::cuda {

/// How a head size is cut: 16-row tiles of queries for each warp, and keys of a step. Set by registers: out, scores and
/// queries of a warp stay in them.
template <int D>
struct AttentionTiling {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRowTiles = D <= 64 ? 2 : 1;
  static constexpr int kRows = 16 * kRowTiles * kWarps;
  static constexpr int kKeys = D <= 128 ? 64 : 32;
  static constexpr int kStages = 2;
};

template <typename T, int D>
struct alignas(128) AttentionSmem {
  using Tiling = AttentionTiling<D>;
  using Shape = HeadShape<D>;
  T query[Tiling::kRows * Shape::kKeyChunks * kChunk];
  T key[Tiling::kStages][Tiling::kKeys * Shape::kKeyChunks * kChunk];
  T value[Tiling::kStages][Tiling::kKeys * Shape::kValueChunks * kChunk];
};

template <typename T, int D, bool Causal>
I2I_GLOBAL __launch_bounds__(AttentionTiling<D>::kThreads) attention_kernel(Attention a, float scale_log2) {
  using Tiling = AttentionTiling<D>;
  using Shape = HeadShape<D>;
  auto& smem = dyn_smem<AttentionSmem<T, D>>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
  const int condition = static_cast<int>(static_cast<std::int64_t>(image) * a.conditions / a.images);
  const int block_row = static_cast<int>(blockIdx.x) * Tiling::kRows;
  const int first_row = block_row + warp * 16 * Tiling::kRowTiles;
  const int out_stride = a.heads * D;
  const std::int64_t first_key_value = static_cast<std::int64_t>(condition) * a.keys * a.key_value_stride + head * D;
  const T* query =
      static_cast<const T*>(a.query) + static_cast<std::int64_t>(image) * a.queries * a.query_stride + head * D;
  const T* key = static_cast<const T*>(a.key) + first_key_value;
  const T* value = static_cast<const T*>(a.value) + first_key_value;
  T* out = static_cast<T*>(a.out) + static_cast<std::int64_t>(image) * a.queries * out_stride + head * D;

  // The block's last query sees no key behind it.
  const int keys_seen = Causal && block_row + Tiling::kRows < a.keys ? block_row + Tiling::kRows : a.keys;
  const int tiles = (keys_seen + Tiling::kKeys - 1) / Tiling::kKeys;
  const auto copy_tile = [&](int tile) {
    const int stage = tile % Tiling::kStages;
    copy_rows<T, Tiling::kKeys, Shape::kKeyChunks, Shape::kValueChunks, Tiling::kThreads>(
        smem.key[stage], key, a.key_value_stride, tile * Tiling::kKeys, a.keys, thread);
    copy_rows<T, Tiling::kKeys, Shape::kValueChunks, Shape::kValueChunks, Tiling::kThreads>(
        smem.value[stage], value, a.key_value_stride, tile * Tiling::kKeys, a.keys, thread);
  };

  copy_rows<T, Tiling::kRows, Shape::kKeyChunks, Shape::kValueChunks, Tiling::kThreads>(
      smem.query, query, a.query_stride, block_row, a.queries, thread);
#pragma unroll
  for (int stage = 0; stage < Tiling::kStages - 1; ++stage) {
    if (stage < tiles) copy_tile(stage);
    cp_async_commit();
  }
  T* own_queries = smem.query + warp * 16 * Tiling::kRowTiles * Shape::kKeyChunks * kChunk;
  WarpAttention<T, D, Tiling::kRowTiles, Tiling::kKeys> rows;
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<Tiling::kStages - 2>();
    __syncthreads();  // this tile is there for all, and all are done with the one before it, whose place comes next
    if (tile + Tiling::kStages - 1 < tiles) copy_tile(tile + Tiling::kStages - 1);
    cp_async_commit();
    if (tile == 0) rows.begin(own_queries, lane);
    const int stage = tile % Tiling::kStages;
    rows.template attend<Causal>(smem.key[stage], smem.value[stage], tile * Tiling::kKeys, a.keys, first_row,
                                 scale_log2, lane);
  }
  rows.finish(own_queries, out, out_stride, first_row, a.queries, lane);
}

/// 16-byte copies need 16-byte rows, and offsets inside an image are 32 bits wide.
inline bool possible(const Attention& a) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; };
  const std::int64_t most = std::int64_t{1} << 31;
  return a.images > 0 && a.queries > 0 && a.keys > 0 && a.heads > 0 && a.conditions > 0 && aligned(a.query) &&
         aligned(a.key) && aligned(a.value) && aligned(a.out) && a.query_stride % kChunk == 0 &&
         a.key_value_stride % kChunk == 0 && std::int64_t{a.queries} * a.query_stride < most &&
         std::int64_t{a.keys} * a.key_value_stride < most;
}

/// 1 / sqrt(head size), for powers of two instead of e.
inline float softmax_scale_log2(int head_size) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_size)));
}

template <typename T, int D>
inline cudaError_t launch_attention(const Attention& a, cudaStream_t stream) {
  using Tiling = AttentionTiling<D>;
  const dim3 grid(static_cast<unsigned>((a.queries + Tiling::kRows - 1) / Tiling::kRows),
                  static_cast<unsigned>(a.heads), static_cast<unsigned>(a.images));
  const dim3 block(Tiling::kThreads);
  const float scale = softmax_scale_log2(D);
  constexpr size_t kBytes = sizeof(AttentionSmem<T, D>);
  if (a.causal) return launch("attention", attention_kernel<T, D, true>, grid, block, kBytes, stream, a, scale);
  return launch("attention", attention_kernel<T, D, false>, grid, block, kBytes, stream, a, scale);
}

template <typename T>
inline cudaError_t launch_attention_of_head_size(const Attention& a, cudaStream_t stream) {
  switch (a.head_size) {
    case 32:
      return launch_attention<T, 32>(a, stream);
    case 40:
      return launch_attention<T, 40>(a, stream);
    case 64:
      return launch_attention<T, 64>(a, stream);
    case 80:
      return launch_attention<T, 80>(a, stream);
    case 128:
      return launch_attention<T, 128>(a, stream);
    case 160:
      return launch_attention<T, 160>(a, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace i2i::cuda
