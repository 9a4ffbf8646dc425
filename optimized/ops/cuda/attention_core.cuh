// What the attention kernels share: a warp's 16-row tiles of queries against a tile of keys and values in shared
// memory, by tensor cores, with the online softmax of Milakov & Gimelshein 2018 (arXiv:1805.02867) in powers of two.
#pragma once

#include "optimized/ops/cuda/device_mma.cuh"

namespace i2i::cuda {

constexpr int kChunk = 8;  // elements in 16 bytes

/// Sizes that follow from the head size. Products take 16 elements at a time: 40 becomes 48 in queries and keys, the
/// last eight zero. Values need no padding.
template <int D>
struct HeadShape {
  static_assert(D % kChunk == 0);
  static constexpr int kValueChunks = D / kChunk;
  static constexpr int kKeyChunks = (kValueChunks + 1) / 2 * 2;
  static constexpr int kSteps = kKeyChunks / 2;
};

/// Starts the copy of rows [first_row, first_row + Rows) of `from` into a swizzled tile; rows from `row_count` on and
/// chunks from Valid on become zeros. Called by `threads` threads together.
template <typename T, int Rows, int Chunks, int Valid, int Threads>
I2I_DEVICE void copy_rows(T* tile, const T* from, int stride, int first_row, int row_count, int thread) {
#pragma unroll
  for (int i = thread; i < Rows * Chunks; i += Threads) {
    const int row = i / Chunks, chunk = i % Chunks;
    const bool valid = first_row + row < row_count && chunk < Valid;
    cp_async16(tile + swizzled<Chunks>(row, chunk) * kChunk,
               valid ? from + (first_row + row) * stride + chunk * kChunk : from, valid);
  }
}

/// RowTiles * 16 queries of one warp. In every fragment lane / 4 is a row (and that plus 8), lane % 4 a pair of
/// columns.
template <typename T, int D, int RowTiles, int Keys>
struct WarpAttention {
  using Shape = HeadShape<D>;
  static constexpr int kRows = 16 * RowTiles;
  static constexpr int kValueTiles = D / 8;

  unsigned query[RowTiles][Shape::kSteps][4];
  float out[RowTiles][kValueTiles][4];
  float row_max[RowTiles][2];
  float row_sum[RowTiles][2];

  /// Takes this warp's queries from a tile of which it owns rows [0, kRows).
  I2I_DEVICE void begin(const T* tile, int lane) {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
#pragma unroll
      for (int k = 0; k < Shape::kSteps; ++k)
        ldmatrix_x4(query[r][k], tile + swizzled<Shape::kKeyChunks>(16 * r + lane % 16, 2 * k + lane / 16) * kChunk);
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out[r][n][e] = 0.0f;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        row_max[r][half] = -INFINITY;
        row_sum[r][half] = 0.0f;
      }
    }
  }

  /// scores = query key^T, of `Keys` keys.
  I2I_DEVICE void multiply_keys(float (&score)[RowTiles][Keys / 8][4], const T* keys, int lane) const {
#pragma unroll
    for (int k = 0; k < Shape::kSteps; ++k) {
#pragma unroll
      for (int n = 0; n < Keys / 16; ++n) {
        unsigned b[4];
        const int row = 16 * n + lane / 16 * 8 + lane % 8;
        ldmatrix_x4(b, keys + swizzled<Shape::kKeyChunks>(row, 2 * k + lane / 8 % 2) * kChunk);
#pragma unroll
        for (int r = 0; r < RowTiles; ++r) {
          mma_16816<T>(score[r][2 * n], query[r][k], b[0], b[1]);
          mma_16816<T>(score[r][2 * n + 1], query[r][k], b[2], b[3]);
        }
      }
    }
  }

  /// Keys that do not exist, or that lie behind a causal query, get no weight.
  template <bool Causal>
  I2I_DEVICE void mask(float (&score)[RowTiles][Keys / 8][4], int first_key, int key_count, int first_row,
                       int lane) const {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
#pragma unroll
      for (int n = 0; n < Keys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int key = first_key + 8 * n + lane % 4 * 2 + e % 2;
          const int row = first_row + 16 * r + lane / 4 + e / 2 * 8;
          if (key >= key_count || (Causal && key > row)) score[r][n][e] = -INFINITY;
        }
      }
    }
  }

  /// Scores become weights; what was summed so far is scaled down to the new maximum.
  I2I_DEVICE void softmax(float (&score)[RowTiles][Keys / 8][4], float scale_log2) {
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = row_max[r][half];
#pragma unroll
        for (int n = 0; n < Keys / 8; ++n)
          largest = fmaxf(largest, fmaxf(score[r][n][2 * half], score[r][n][2 * half + 1]));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
        const float shrink = fast_exp2((row_max[r][half] - largest) * scale_log2);
        const float shift = largest * scale_log2;
        row_max[r][half] = largest;
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < Keys / 8; ++n) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            score[r][n][e] = fast_exp2(fmaf(score[r][n][e], scale_log2, -shift));
            sum += score[r][n][e];
          }
        }
        row_sum[r][half] = row_sum[r][half] * shrink + sum;
#pragma unroll
        for (int n = 0; n < kValueTiles; ++n) {
          out[r][n][2 * half] *= shrink;
          out[r][n][2 * half + 1] *= shrink;
        }
      }
    }
  }

  /// out += weights value. The scores' fragments, rounded to T, are the first operand's fragments as they stand.
  I2I_DEVICE void multiply_values(const float (&score)[RowTiles][Keys / 8][4], const T* values, int lane) {
#pragma unroll
    for (int k = 0; k < Keys / 16; ++k) {
      unsigned weight[RowTiles][4];
#pragma unroll
      for (int r = 0; r < RowTiles; ++r) {
        weight[r][0] = pack2<T>(score[r][2 * k][0], score[r][2 * k][1]);
        weight[r][1] = pack2<T>(score[r][2 * k][2], score[r][2 * k][3]);
        weight[r][2] = pack2<T>(score[r][2 * k + 1][0], score[r][2 * k + 1][1]);
        weight[r][3] = pack2<T>(score[r][2 * k + 1][2], score[r][2 * k + 1][3]);
      }
      const int row = 16 * k + lane % 16;
#pragma unroll
      for (int n = 0; n + 1 < kValueTiles; n += 2) {
        unsigned b[4];
        ldmatrix_x4_trans(b, values + swizzled<Shape::kValueChunks>(row, n + lane / 16) * kChunk);
#pragma unroll
        for (int r = 0; r < RowTiles; ++r) {
          mma_16816<T>(out[r][n], weight[r], b[0], b[1]);
          mma_16816<T>(out[r][n + 1], weight[r], b[2], b[3]);
        }
      }
      if constexpr (kValueTiles % 2 != 0) {
        unsigned b[2];
        ldmatrix_x2_trans(b, values + swizzled<Shape::kValueChunks>(row, kValueTiles - 1) * kChunk);
#pragma unroll
        for (int r = 0; r < RowTiles; ++r) mma_16816<T>(out[r][kValueTiles - 1], weight[r], b[0], b[1]);
      }
    }
  }

  /// One tile of keys and values, the first of which is number `first_key`.
  template <bool Causal>
  I2I_DEVICE void attend(const T* keys, const T* values, int first_key, int key_count, int first_row, float scale_log2,
                         int lane) {
    float score[RowTiles][Keys / 8][4] = {};
    multiply_keys(score, keys, lane);
    if (first_key + Keys > key_count || (Causal && first_key + Keys - 1 > first_row))
      mask<Causal>(score, first_key, key_count, first_row, lane);
    softmax(score, scale_log2);
    multiply_values(score, values, lane);
  }

  /// Writes rows [first_row, min(first_row + kRows, row_count)) of `to`, 16 bytes at a time, by way of `staging`: the
  /// tile that begin() read, of which this warp owns the first kRows rows.
  I2I_DEVICE void finish(T* staging, T* to, int stride, int first_row, int row_count, int lane) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < RowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = row_sum[r][half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        const float scale = 1.0f / sum;
        const int row = 16 * r + 8 * half + lane / 4;
#pragma unroll
        for (int n = 0; n < kValueTiles; ++n) {
          store(staging + swizzled<Shape::kValueChunks>(row, n) * kChunk + lane % 4 * 2,
                pack2<T>(out[r][n][2 * half] * scale, out[r][n][2 * half + 1] * scale));
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < kRows * Shape::kValueChunks; i += 32) {
      const int row = i / Shape::kValueChunks, chunk = i % Shape::kValueChunks;
      if (first_row + row < row_count)
        store(to + (first_row + row) * stride + chunk * kChunk,
              load<uint4>(staging + swizzled<Shape::kValueChunks>(row, chunk) * kChunk));
    }
  }
};

}  // namespace i2i::cuda
