// Attention to few keys: a block reads all keys and values of one head once and keeps them, then walks over tiles of
// queries. Grid: (runs of tiles, heads, images); block: four warps that share the keys and nothing else, so that only
// the start has a barrier. The next queries are copied while these are multiplied. Bytes: queries and out once, keys
// and values once per block. fp32 sums. Answers to cross_attention in optimized/ops.inc.
#pragma once

#include "optimized/ops/cuda/attention.cuh"
#include "optimized/ops/cuda/cross_attention.h"

namespace i2i::cuda {

/// @tparam KeyRows  room for keys, in steps of kKeys: 77 tokens of a prompt, rounded up to what a product takes
template <int D, int KeyRows>
struct CrossAttentionTiling {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWarpRows = 16;
  static constexpr int kRows = kWarpRows * kWarps;
  static constexpr int kKeys = 80;
  static_assert(KeyRows % kKeys == 0);
};

template <typename T, int D, int KeyRows>
struct alignas(128) CrossAttentionSmem {
  using Tiling = CrossAttentionTiling<D, KeyRows>;
  using Shape = HeadShape<D>;
  T key[KeyRows * Shape::kKeyChunks * kChunk];
  T value[KeyRows * Shape::kValueChunks * kChunk];
  T query[2][Tiling::kRows * Shape::kKeyChunks * kChunk];
};

template <typename T, int D, int KeyRows>
I2I_GLOBAL __launch_bounds__(CrossAttentionTiling<D, KeyRows>::kThreads)
    cross_attention_kernel(Attention a, float scale_log2, int tiles_per_block) {
  using Tiling = CrossAttentionTiling<D, KeyRows>;
  using Shape = HeadShape<D>;
  auto& smem = dyn_smem<CrossAttentionSmem<T, D, KeyRows>>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
  const int condition = static_cast<int>(static_cast<std::int64_t>(image) * a.conditions / a.images);
  const int out_stride = a.heads * D;
  const std::int64_t first_key_value = static_cast<std::int64_t>(condition) * a.keys * a.key_value_stride + head * D;
  const T* query =
      static_cast<const T*>(a.query) + static_cast<std::int64_t>(image) * a.queries * a.query_stride + head * D;
  T* out = static_cast<T*>(a.out) + static_cast<std::int64_t>(image) * a.queries * out_stride + head * D;

  const int tiles = (a.queries + Tiling::kRows - 1) / Tiling::kRows;
  const int first_tile = static_cast<int>(blockIdx.x) * tiles_per_block;
  const int last_tile = first_tile + tiles_per_block < tiles ? first_tile + tiles_per_block : tiles;
  const int own_offset = warp * Tiling::kWarpRows * Shape::kKeyChunks * kChunk;
  const auto copy_queries = [&](int tile) {
    copy_rows<T, Tiling::kWarpRows, Shape::kKeyChunks, Shape::kValueChunks, 32>(
        smem.query[tile % 2] + own_offset, query, a.query_stride, tile * Tiling::kRows + warp * Tiling::kWarpRows,
        a.queries, lane);
  };

  copy_rows<T, KeyRows, Shape::kKeyChunks, Shape::kValueChunks, Tiling::kThreads>(
      smem.key, static_cast<const T*>(a.key) + first_key_value, a.key_value_stride, 0, a.keys, thread);
  copy_rows<T, KeyRows, Shape::kValueChunks, Shape::kValueChunks, Tiling::kThreads>(
      smem.value, static_cast<const T*>(a.value) + first_key_value, a.key_value_stride, 0, a.keys, thread);
  copy_queries(first_tile);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();

  WarpAttention<T, D, 1, Tiling::kKeys> rows;
#pragma unroll 1
  for (int tile = first_tile; tile < last_tile; ++tile) {
    T* own_queries = smem.query[tile % 2] + own_offset;
    if (tile > first_tile) {
      cp_async_wait<0>();
      __syncwarp();  // the lanes' copies are there for the whole warp, and the other buffer's rows have been written
                     // out
    }
    if (tile + 1 < last_tile) copy_queries(tile + 1);
    cp_async_commit();
    rows.begin(own_queries, lane);
    const int first_row = tile * Tiling::kRows + warp * Tiling::kWarpRows;
#pragma unroll 1
    for (int first_key = 0; first_key < KeyRows; first_key += Tiling::kKeys) {
      rows.template attend<false>(smem.key + first_key * Shape::kKeyChunks * kChunk,
                                  smem.value + first_key * Shape::kValueChunks * kChunk, first_key, a.keys, first_row,
                                  scale_log2, lane);
    }
    rows.finish(own_queries, out, out_stride, first_row, a.queries, lane);
  }
}

constexpr size_t kBlockSmemEverywhere = 99 * 1024;  // sm_86, sm_89, sm_120; sm_80 and sm_90 have more
constexpr int kLargestHead = 128;                   // beyond it, out, queries and 80 scores outgrow 255 registers
constexpr int kEnoughBlocks = 512;                  // a few for each multiprocessor of a large GPU

template <typename T, int D, int KeyRows>
inline cudaError_t launch_cross_attention(const Attention& a, cudaStream_t stream) {
  using Tiling = CrossAttentionTiling<D, KeyRows>;
  constexpr size_t kBytes = sizeof(CrossAttentionSmem<T, D, KeyRows>);
  if constexpr (D > kLargestHead || kBytes > kBlockSmemEverywhere) {
    return launch_attention<T, D>(a, stream);
  } else {
    const int tiles = (a.queries + Tiling::kRows - 1) / Tiling::kRows;
    const std::int64_t all_tiles = std::int64_t{tiles} * a.heads * a.images;
    const int wanted = static_cast<int>(all_tiles / kEnoughBlocks);
    const int tiles_per_block = wanted < 1 ? 1 : wanted > tiles ? tiles : wanted;
    const dim3 grid(static_cast<unsigned>((tiles + tiles_per_block - 1) / tiles_per_block),
                    static_cast<unsigned>(a.heads), static_cast<unsigned>(a.images));
    return launch("cross_attention", cross_attention_kernel<T, D, KeyRows>, grid, dim3(Tiling::kThreads), kBytes,
                  stream, a, softmax_scale_log2(D), tiles_per_block);
  }
}

template <typename T, int D>
inline cudaError_t launch_cross_attention_of_keys(const Attention& a, cudaStream_t stream) {
  // With 80 rows of keys and heads of 32 ptxas spills a register on sm_80 and sm_90.
  if constexpr (D != 32) {
    if (a.keys <= 80) return launch_cross_attention<T, D, 80>(a, stream);
  }
  if (a.keys <= 160) return launch_cross_attention<T, D, 160>(a, stream);
  if (a.keys <= 240) return launch_cross_attention<T, D, 240>(a, stream);
  return launch_attention<T, D>(a, stream);
}

template <typename T>
inline cudaError_t launch_cross_attention_of_head_size(const Attention& a, cudaStream_t stream) {
  switch (a.head_size) {
    case 32:
      return launch_cross_attention_of_keys<T, 32>(a, stream);
    case 40:
      return launch_cross_attention_of_keys<T, 40>(a, stream);
    case 64:
      return launch_cross_attention_of_keys<T, 64>(a, stream);
    case 80:
      return launch_cross_attention_of_keys<T, 80>(a, stream);
    case 128:
      return launch_cross_attention_of_keys<T, 128>(a, stream);
    case 160:
      return launch_cross_attention_of_keys<T, 160>(a, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace i2i::cuda
