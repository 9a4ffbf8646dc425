// A product of twice the width whose halves meet in the registers of one thread: value * gelu(gate). Grid: (tiles of
// 128 rows, tiles of 64 output channels); block: four warps. A warp's 64 columns are 32 values and the 32 gates that
// belong to them. Bytes: input once for each tile of output channels and weight once for each tile of rows (mostly from
// the second-level cache), out once. fp32 sums. Answers to linear with activation geglu in optimized/ops.inc.
#pragma once

#include "optimized/ops/cuda/geglu.h"
#include "optimized/ops/cuda/gemm_core.cuh"

namespace i2i::cuda {

template <typename T>
I2I_GLOBAL __launch_bounds__(GemmTiling::kThreads) geglu_kernel(Linear a) {
  using Tiling = GemmTiling;
  constexpr int kHalf = Tiling::kWarpColumns / 2;  // values of a warp, and gates
  auto& smem = dyn_smem<GemmSmem<T>>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int block_row = static_cast<int>(blockIdx.x) * Tiling::kRows;
  const int block_column = static_cast<int>(blockIdx.y) * Tiling::kColumns / 2;
  GemmSums sums = {};
  gemm<T>(
      sums, smem, a, block_row,
      [&](int row) {
        const int column = block_column + row / Tiling::kWarpColumns * kHalf + row % kHalf;
        const bool gate = row % Tiling::kWarpColumns >= kHalf;
        return column >= a.out_channels ? -1 : gate ? a.out_channels + column : column;
      },
      thread);

  constexpr int kChunks = kHalf / 8;
  const int first_row = block_row + warp / 2 * Tiling::kWarpRows;
  const int first_column = block_column + warp % 2 * kHalf;
  T* staged = smem.out[warp];
#pragma unroll
  for (int n = 0; n < kChunks; ++n) {
    const int column = first_column + 8 * n + lane % 4 * 2;
    if (column >= a.out_channels) continue;
    const float2 value_bias = load_pair<T>(a.bias, column);
    const float2 gate_bias = load_pair<T>(a.bias, a.out_channels + column);
#pragma unroll
    for (int r = 0; r < Tiling::kRowTiles; ++r) {
      const auto &value = sums[r][n], &gate = sums[r][n + kChunks];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        store(staged + swizzled<kChunks>(16 * r + 8 * half + lane / 4, n) * 8 + lane % 4 * 2,
              pack2<T>((value[2 * half] + value_bias.x) * gelu(gate[2 * half] + gate_bias.x),
                       (value[2 * half + 1] + value_bias.y) * gelu(gate[2 * half + 1] + gate_bias.y)));
      }
    }
  }
  write_tile<T, kChunks>(staged, static_cast<T*>(a.out), first_row, a.rows, first_column, a.out_channels, lane);
}

template <typename T>
inline cudaError_t launch_geglu(const Linear& a, cudaStream_t stream) {
  constexpr int kColumns = GemmTiling::kColumns / 2;
  const dim3 grid(static_cast<unsigned>((a.rows + GemmTiling::kRows - 1) / GemmTiling::kRows),
                  static_cast<unsigned>((a.out_channels + kColumns - 1) / kColumns));
  return launch("geglu", geglu_kernel<T>, grid, dim3(GemmTiling::kThreads), sizeof(GemmSmem<T>), stream, a);
}

}  // namespace i2i::cuda
