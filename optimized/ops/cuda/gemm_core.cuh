// input weight^T by tensor cores, for linear.cuh and geglu.cuh: a block's tile of 128 x 128 sums, held in registers by
// four warps of 64 x 64 each, while slices of both operands pass through shared memory in four stages.
#pragma once

#include "optimized/ops/cuda/device_mma.cuh"
#include "optimized/ops/cuda/gelu.cuh"
#include "optimized/ops/cuda/linear.h"

namespace i2i::cuda {

struct GemmTiling {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 128;
  static constexpr int kColumns = 128;  // rows of the weight
  static constexpr int kWarpRows = 64;
  static constexpr int kWarpColumns = 64;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kColumnTiles = kWarpColumns / 8;
  static constexpr int kChunks = 4;  // of 16 bytes, along the channels
  static constexpr int kDepth = 8 * kChunks;
  static constexpr int kStages = 4;
};

template <typename T>
struct alignas(128) GemmSmem {
  struct Stage {
    T input[GemmTiling::kRows * GemmTiling::kDepth];
    T weight[GemmTiling::kColumns * GemmTiling::kDepth];
  };
  union {
    Stage stage[GemmTiling::kStages];
    T out[GemmTiling::kWarps][GemmTiling::kWarpRows * GemmTiling::kWarpColumns];  // after the last product
  };
};

/// The sums of one warp. In every fragment lane / 4 is a row (and that plus 8), lane % 4 a pair of columns.
using GemmSums = float[GemmTiling::kRowTiles][GemmTiling::kColumnTiles][4];

/// Starts the copy of 128 rows' channels [8 * first_chunk, that + 32) into a swizzled tile. `row_of(i)` is the row of
/// `from` that becomes row i, or negative: zeros. So are channels beyond the last.
template <typename T, typename RowOf>
I2I_DEVICE void copy_slice(T* tile, const T* from, int channels, int first_chunk, RowOf row_of, int thread) {
#pragma unroll
  for (int i = thread; i < GemmTiling::kRows * GemmTiling::kChunks; i += GemmTiling::kThreads) {
    const int row = i / GemmTiling::kChunks, chunk = i % GemmTiling::kChunks;
    const int source = row_of(row), channel = 8 * (first_chunk + chunk);
    const bool valid = source >= 0 && channel < channels;
    cp_async16(tile + swizzled<GemmTiling::kChunks>(row, chunk) * 8,
               valid ? from + static_cast<std::int64_t>(source) * channels + channel : from, valid);
  }
}

/// Adds one slice's products: rows of this warp's part of `input` with rows of its part of `weight`.
template <typename T>
I2I_DEVICE void multiply_slice(GemmSums& sums, const typename GemmSmem<T>::Stage& stage, int warp, int lane) {
  using Tiling = GemmTiling;
  const int first_row = warp / 2 * Tiling::kWarpRows, first_column = warp % 2 * Tiling::kWarpColumns;
#pragma unroll
  for (int k = 0; k < Tiling::kChunks / 2; ++k) {
    unsigned a[Tiling::kRowTiles][4];
#pragma unroll
    for (int r = 0; r < Tiling::kRowTiles; ++r) {
      const int row = first_row + 16 * r + lane % 16;
      ldmatrix_x4(a[r], stage.input + swizzled<Tiling::kChunks>(row, 2 * k + lane / 16) * 8);
    }
#pragma unroll
    for (int n = 0; n < Tiling::kColumnTiles; n += 2) {
      unsigned b[4];
      const int row = first_column + 8 * n + lane / 16 * 8 + lane % 8;
      ldmatrix_x4(b, stage.weight + swizzled<Tiling::kChunks>(row, 2 * k + lane / 8 % 2) * 8);
#pragma unroll
      for (int r = 0; r < Tiling::kRowTiles; ++r) {
        mma_16816<T>(sums[r][n], a[r], b[0], b[1]);
        mma_16816<T>(sums[r][n + 1], a[r], b[2], b[3]);
      }
    }
  }
}

/// sums = input[first_row .. + 128] weight[weight_row(0 .. 127)]^T. Ends with all warps done with shared memory.
template <typename T, typename WeightRow>
I2I_DEVICE void gemm(GemmSums& sums, GemmSmem<T>& smem, const Linear& a, int first_row, WeightRow weight_row,
                     int thread) {
  using Tiling = GemmTiling;
  const auto* input = static_cast<const T*>(a.input);
  const auto* weight = static_cast<const T*>(a.weight);
  const auto copy = [&](int slice) {
    auto& stage = smem.stage[slice % Tiling::kStages];
    const auto input_row = [&](int row) { return first_row + row < a.rows ? first_row + row : -1; };
    copy_slice(stage.input, input, a.in_channels, slice * Tiling::kChunks, input_row, thread);
    copy_slice(stage.weight, weight, a.in_channels, slice * Tiling::kChunks, weight_row, thread);
  };
  const int slices = (a.in_channels + Tiling::kDepth - 1) / Tiling::kDepth;
#pragma unroll
  for (int slice = 0; slice < Tiling::kStages - 1; ++slice) {
    if (slice < slices) copy(slice);
    cp_async_commit();
  }
#pragma unroll 1
  for (int slice = 0; slice < slices; ++slice) {
    cp_async_wait<Tiling::kStages - 2>();
    __syncthreads();  // this slice is there for all, and all are done with the one before it, whose place comes next
    if (slice + Tiling::kStages - 1 < slices) copy(slice + Tiling::kStages - 1);
    cp_async_commit();
    multiply_slice<T>(sums, smem.stage[slice % Tiling::kStages], thread / 32, thread % 32);
  }
  __syncthreads();
}

template <typename T>
struct alignas(2 * sizeof(T)) PairOf {
  T x, y;
};

/// Two neighbouring elements as floats, or zeros where there is no such tensor.
template <typename T>
I2I_DEVICE float2 load_pair(const void* tensor, std::int64_t index) {
  if (tensor == nullptr) return make_float2(0.0f, 0.0f);
  const auto pair = load<PairOf<T>>(static_cast<const T*>(tensor) + index);
  return make_float2(to_float(pair.x), to_float(pair.y));
}

/// Writes a warp's finished tile, of `Chunks` chunks a row, 16 bytes at a time; it lies swizzled in `staged`.
template <typename T, int Chunks>
I2I_DEVICE void write_tile(const T* staged, T* out, int first_row, int rows, int first_column, int columns, int lane) {
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < GemmTiling::kWarpRows * Chunks; i += 32) {
    const int row = i / Chunks, chunk = i % Chunks;
    const int column = first_column + 8 * chunk;
    if (first_row + row < rows && column < columns)
      store(out + static_cast<std::int64_t>(first_row + row) * columns + column,
            load<uint4>(staged + swizzled<Chunks>(row, chunk) * 8));
  }
}

/// 16-byte copies need 16-byte rows.
inline bool possible(const Linear& a) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; };
  return a.rows > 0 && a.in_channels > 0 && a.out_channels > 0 && a.in_channels % 8 == 0 && a.out_channels % 8 == 0 &&
         a.out_channels <= 65535 * GemmTiling::kColumns / 2 && aligned(a.input) && aligned(a.weight) &&
         aligned(a.bias) && aligned(a.residual) && aligned(a.out);
}

}  // namespace i2i::cuda
