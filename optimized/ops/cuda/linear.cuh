// A product with its epilogue: bias, activation, residual. Grid: (tiles of 128 rows, tiles of 128 output channels);
// block: four warps. Bytes: input once for each tile of output channels and weight once for each tile of rows (mostly
// from the second-level cache), residual and out once. fp32 sums. Answers to linear in optimized/ops.inc.
#pragma once

#include "optimized/ops/cuda/gemm_core.cuh"

namespace i2i::cuda {

template <Activation Act>
I2I_DEVICE float activate(float x) {
  if constexpr (Act == Activation::kSilu) return x / (1.0f + __expf(-x));
  if constexpr (Act == Activation::kQuickGelu) return x / (1.0f + __expf(-1.702f * x));
  if constexpr (Act == Activation::kGelu) return gelu(x);
  return x;
}

template <typename T, Activation Act>
I2I_GLOBAL __launch_bounds__(GemmTiling::kThreads) linear_kernel(Linear a) {
  using Tiling = GemmTiling;
  auto& smem = dyn_smem<GemmSmem<T>>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int block_row = static_cast<int>(blockIdx.x) * Tiling::kRows;
  const int block_column = static_cast<int>(blockIdx.y) * Tiling::kColumns;
  GemmSums sums = {};
  gemm<T>(
      sums, smem, a, block_row, [&](int row) { return block_column + row < a.out_channels ? block_column + row : -1; },
      thread);

  constexpr int kChunks = Tiling::kWarpColumns / 8;
  const int first_row = block_row + warp / 2 * Tiling::kWarpRows;
  const int first_column = block_column + warp % 2 * Tiling::kWarpColumns;
  T* staged = smem.out[warp];
#pragma unroll
  for (int n = 0; n < Tiling::kColumnTiles; ++n) {
    const int column = first_column + 8 * n + lane % 4 * 2;
    if (column >= a.out_channels) continue;
    const float2 bias = load_pair<T>(a.bias, column);
#pragma unroll
    for (int r = 0; r < Tiling::kRowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * r + 8 * half + lane / 4;
        if (first_row + row >= a.rows) continue;
        const float2 residual =
            load_pair<T>(a.residual, static_cast<std::int64_t>(first_row + row) * a.out_channels + column);
        store(staged + swizzled<kChunks>(row, n) * 8 + lane % 4 * 2,
              pack2<T>(activate<Act>(sums[r][n][2 * half] + bias.x) + residual.x,
                       activate<Act>(sums[r][n][2 * half + 1] + bias.y) + residual.y));
      }
    }
  }
  write_tile<T, kChunks>(staged, static_cast<T*>(a.out), first_row, a.rows, first_column, a.out_channels, lane);
}

template <typename T, Activation Act>
inline cudaError_t launch_linear(const Linear& a, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((a.rows + GemmTiling::kRows - 1) / GemmTiling::kRows),
                  static_cast<unsigned>((a.out_channels + GemmTiling::kColumns - 1) / GemmTiling::kColumns));
  return launch("linear", linear_kernel<T, Act>, grid, dim3(GemmTiling::kThreads), sizeof(GemmSmem<T>), stream, a);
}

template <typename T>
inline cudaError_t launch_linear_of_activation(const Linear& a, cudaStream_t stream) {
  switch (a.activation) {
    case Activation::kNone:
      return launch_linear<T, Activation::kNone>(a, stream);
    case Activation::kSilu:
      return launch_linear<T, Activation::kSilu>(a, stream);
    case Activation::kQuickGelu:
      return launch_linear<T, Activation::kQuickGelu>(a, stream);
    case Activation::kGelu:
      return launch_linear<T, Activation::kGelu>(a, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
