// Flash attention for a head of 512. Grid: (tiles of queries, heads, images); block: eight warps, of which
// `kColumnGroups` share 16 rows of queries: each takes its part of the keys when scores are computed and its part of
// the channels when values are added, and they exchange row maxima and weights through shared memory. Keys and values
// have one place each: values are copied while scores are computed, the next keys while values are added. Bytes:
// queries and out once, keys and values once for each tile of queries. fp32 sums; weights are rounded to T before they
// meet the values. Answers to self_attention in optimized/ops.inc.
#pragma once

#include "optimized/ops/cuda/attention.cuh"
#include "optimized/ops/cuda/vae_attention.h"

namespace i2i::cuda {

/// @tparam RowGroups  16-row tiles of queries in a block: 4 where a block may have 133 KiB (sm_80, sm_90), else 2 (99
/// KiB)
template <int RowGroups>
struct VaeAttentionTiling {
  static constexpr int kHead = 512;
  static constexpr int kHeadChunks = kHead / kChunk;
  static constexpr int kWarps = 8;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kColumnGroups = kWarps / RowGroups;
  static constexpr int kRows = 16 * RowGroups;
  static constexpr int kKeys = 32;
  static constexpr int kKeyTiles = kKeys / 8 / kColumnGroups;  // of 8 keys, of one warp
  static constexpr int kOutTiles = kHead / 8 / kColumnGroups;  // of 8 channels, of one warp
};

template <typename T, int RowGroups>
struct alignas(128) VaeAttentionSmem {
  using Tiling = VaeAttentionTiling<RowGroups>;
  T query[Tiling::kRows * Tiling::kHead];
  T key[Tiling::kKeys * Tiling::kHead];
  T value[Tiling::kKeys * Tiling::kHead];
  T weight[Tiling::kRows * Tiling::kKeys];
  float of_row[Tiling::kColumnGroups][Tiling::kRows];  // a maximum or a sum, of each warp's keys
};

/// Scores of one warp: its 16 queries with its part of the keys, over all channels.
template <typename T, int RowGroups>
I2I_DEVICE void vae_scores(float (&score)[VaeAttentionTiling<RowGroups>::kKeyTiles][4],
                           const VaeAttentionSmem<T, RowGroups>& smem, int first_row, int first_key, int lane) {
  using Tiling = VaeAttentionTiling<RowGroups>;
#pragma unroll 4
  for (int k = 0; k < Tiling::kHead / 32; ++k) {
    unsigned query[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      ldmatrix_x4(
          query[half],
          smem.query + swizzled<Tiling::kHeadChunks>(first_row + lane % 16, 4 * k + 2 * half + lane / 16) * kChunk);
    }
#pragma unroll
    for (int n = 0; n < Tiling::kKeyTiles; ++n) {
      unsigned key[4];  // 8 keys, 32 channels
      ldmatrix_x4(key,
                  smem.key + swizzled<Tiling::kHeadChunks>(first_key + 8 * n + lane % 8, 4 * k + lane / 8) * kChunk);
      mma_16816<T>(score[n], query[0], key[0], key[1]);
      mma_16816<T>(score[n], query[1], key[2], key[3]);
    }
  }
}

/// out += weights value, over this warp's part of the channels.
template <typename T, int RowGroups>
I2I_DEVICE void vae_add_values(float (&out)[VaeAttentionTiling<RowGroups>::kOutTiles][4],
                               const VaeAttentionSmem<T, RowGroups>& smem, int first_row, int first_chunk, int lane) {
  using Tiling = VaeAttentionTiling<RowGroups>;
#pragma unroll
  for (int k = 0; k < Tiling::kKeys / 16; ++k) {
    unsigned weight[4];
    ldmatrix_x4(weight,
                smem.weight + swizzled<Tiling::kKeys / kChunk>(first_row + lane % 16, 2 * k + lane / 16) * kChunk);
#pragma unroll
    for (int n = 0; n < Tiling::kOutTiles; n += 2) {
      unsigned value[4];
      ldmatrix_x4_trans(
          value, smem.value + swizzled<Tiling::kHeadChunks>(16 * k + lane % 16, first_chunk + n + lane / 16) * kChunk);
      mma_16816<T>(out[n], weight, value[0], value[1]);
      mma_16816<T>(out[n + 1], weight, value[2], value[3]);
    }
  }
}

template <typename T, int RowGroups>
I2I_GLOBAL __launch_bounds__(VaeAttentionTiling<RowGroups>::kThreads)
    vae_attention_kernel(Attention a, float scale_log2) {
  using Tiling = VaeAttentionTiling<RowGroups>;
  constexpr int kHead = Tiling::kHead, kHeadChunks = Tiling::kHeadChunks;
  auto& smem = dyn_smem<VaeAttentionSmem<T, RowGroups>>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int column_group = warp % Tiling::kColumnGroups;
  const int first_row = warp / Tiling::kColumnGroups * 16, first_key = column_group * 8 * Tiling::kKeyTiles;
  const int first_chunk = column_group * Tiling::kOutTiles;
  const int head = static_cast<int>(blockIdx.y), image = static_cast<int>(blockIdx.z);
  const int condition = static_cast<int>(static_cast<std::int64_t>(image) * a.conditions / a.images);
  const int block_row = static_cast<int>(blockIdx.x) * Tiling::kRows;
  const int out_stride = a.heads * kHead;
  const std::int64_t first_key_value =
      static_cast<std::int64_t>(condition) * a.keys * a.key_value_stride + head * kHead;
  const T* query =
      static_cast<const T*>(a.query) + static_cast<std::int64_t>(image) * a.queries * a.query_stride + head * kHead;
  const T* key = static_cast<const T*>(a.key) + first_key_value;
  const T* value = static_cast<const T*>(a.value) + first_key_value;
  T* out = static_cast<T*>(a.out) + static_cast<std::int64_t>(image) * a.queries * out_stride + head * kHead;
  const auto copy_tile = [&](T* to, const T* from, int tile) {
    copy_rows<T, Tiling::kKeys, kHeadChunks, kHeadChunks, Tiling::kThreads>(to, from, a.key_value_stride,
                                                                            tile * Tiling::kKeys, a.keys, thread);
  };

  float sums[Tiling::kOutTiles][4] = {};
  float row_max[2] = {-INFINITY, -INFINITY}, row_sum[2] = {};
  copy_rows<T, Tiling::kRows, kHeadChunks, kHeadChunks, Tiling::kThreads>(smem.query, query, a.query_stride, block_row,
                                                                          a.queries, thread);
  copy_tile(smem.key, key, 0);
  cp_async_commit();
  const int tiles = (a.keys + Tiling::kKeys - 1) / Tiling::kKeys;
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<0>();
    __syncthreads();  // the keys are there for all, and all are done with the last values and weights
    copy_tile(smem.value, value, tile);
    cp_async_commit();
    float score[Tiling::kKeyTiles][4] = {};
    vae_scores<T, RowGroups>(score, smem, first_row, first_key, lane);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = -INFINITY;
#pragma unroll
      for (int n = 0; n < Tiling::kKeyTiles; ++n) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          if (tile * Tiling::kKeys + first_key + 8 * n + lane % 4 * 2 + e % 2 >= a.keys) score[n][e] = -INFINITY;
          largest = fmaxf(largest, score[n][e]);
        }
      }
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      if (lane % 4 == 0) smem.of_row[column_group][first_row + 8 * half + lane / 4] = largest;
    }
    __syncthreads();  // all maxima are there, and all are done with the keys
    if (tile + 1 < tiles) copy_tile(smem.key, key, tile + 1);
    cp_async_commit();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 8 * half + lane / 4;
      float largest = row_max[half];
#pragma unroll
      for (int group = 0; group < Tiling::kColumnGroups; ++group) largest = fmaxf(largest, smem.of_row[group][row]);
      const float shrink = fast_exp2((row_max[half] - largest) * scale_log2), shift = largest * scale_log2;
      row_max[half] = largest;
      row_sum[half] *= shrink;
#pragma unroll
      for (int n = 0; n < Tiling::kKeyTiles; ++n) {
        const float low = fast_exp2(fmaf(score[n][2 * half], scale_log2, -shift));
        const float high = fast_exp2(fmaf(score[n][2 * half + 1], scale_log2, -shift));
        row_sum[half] += low + high;
        store(smem.weight + swizzled<Tiling::kKeys / kChunk>(row, first_key / 8 + n) * kChunk + lane % 4 * 2,
              pack2<T>(low, high));
      }
#pragma unroll
      for (int n = 0; n < Tiling::kOutTiles; ++n) {
        sums[n][2 * half] *= shrink;
        sums[n][2 * half + 1] *= shrink;
      }
    }
    cp_async_wait<1>();
    __syncthreads();  // weights and values are there for all; the next keys may still be on their way
    vae_add_values<T, RowGroups>(sums, smem, first_row, first_chunk, lane);
  }

  // Each warp has summed the weights of its own keys.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = row_sum[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (lane % 4 == 0) smem.of_row[column_group][first_row + 8 * half + lane / 4] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + 8 * half + lane / 4;
    float sum = 0.0f;
#pragma unroll
    for (int group = 0; group < Tiling::kColumnGroups; ++group) sum += smem.of_row[group][row];
    const float scale = 1.0f / sum;
    // The queries are no longer needed: a warp puts its channels of its rows there.
#pragma unroll
    for (int n = 0; n < Tiling::kOutTiles; ++n) {
      store(smem.query + swizzled<kHeadChunks>(row, first_chunk + n) * kChunk + lane % 4 * 2,
            pack2<T>(sums[n][2 * half] * scale, sums[n][2 * half + 1] * scale));
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < 16 * Tiling::kOutTiles; i += 32) {
    const int row = first_row + i / Tiling::kOutTiles, chunk = first_chunk + i % Tiling::kOutTiles;
    if (block_row + row < a.queries)
      store(out + static_cast<std::int64_t>(block_row + row) * out_stride + chunk * kChunk,
            load<uint4>(smem.query + swizzled<kHeadChunks>(row, chunk) * kChunk));
  }
}

template <typename T, int RowGroups>
inline cudaError_t launch_vae_attention(const Attention& a, cudaStream_t stream) {
  using Tiling = VaeAttentionTiling<RowGroups>;
  const dim3 grid(static_cast<unsigned>((a.queries + Tiling::kRows - 1) / Tiling::kRows),
                  static_cast<unsigned>(a.heads), static_cast<unsigned>(a.images));
  return launch("vae_attention", vae_attention_kernel<T, RowGroups>, grid, dim3(Tiling::kThreads),
                sizeof(VaeAttentionSmem<T, RowGroups>), stream, a, softmax_scale_log2(Tiling::kHead));
}

template <typename T>
inline cudaError_t launch_vae_attention_of_device(const Attention& a, cudaStream_t stream) {
  if (max_block_smem() >= sizeof(VaeAttentionSmem<T, 4>)) return launch_vae_attention<T, 4>(a, stream);
  return launch_vae_attention<T, 2>(a, stream);
}

}  // namespace i2i::cuda
