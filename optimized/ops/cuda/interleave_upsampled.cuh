// What follows a folded upsampling convolution: its four small pictures interleaved, bias, residual. Grid: (vectors of
// an image of `out` / 256, images). Bytes: what is taken of input once (all but a row and a column of each small
// picture), residual and out once, in 128-bit accesses where the channels allow; the bias comes from the caches. fp32
// arithmetic, rounded once. Answers to optimized/ops.inc's conv2d with upsample.
#pragma once

#include "optimized/ops/cuda/interleave_upsampled.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kInterleaveThreads = 256;

template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kInterleaveThreads) interleave_upsampled_kernel(InterleaveUpsampled call, unsigned count) {
  const unsigned i = blockIdx.x * kInterleaveThreads + threadIdx.x;
  if (i >= count) return;
  const auto image = static_cast<std::int64_t>(blockIdx.y);
  const auto vectors = static_cast<unsigned>(call.channels / V), out_width = 2 * static_cast<unsigned>(call.width);
  const unsigned channel = i % vectors * V, pixel = i / vectors;
  const unsigned out_x = pixel % out_width, out_y = pixel / out_width;
  const unsigned dx = out_x % 2, dy = out_y % 2;
  const std::int64_t row = image * (call.height + 1) + out_y / 2 + dy;
  const std::int64_t from = ((row * (call.width + 1) + out_x / 2 + dx) * 4 + 2 * dy + dx) * call.channels + channel;
  const std::int64_t to = (image * count + i) * V;
  float x[V], other[V];
  load_floats<T, V>(x, static_cast<const T*>(call.input) + from);
  if (call.bias != nullptr) {
    const std::int64_t bias_row = image * call.bias_rows / call.images;
    load_floats<T, V>(other, static_cast<const T*>(call.bias) + bias_row * call.channels + channel);
#pragma unroll
    for (int e = 0; e < V; ++e) x[e] += other[e];
  }
  if (call.residual != nullptr) {
    load_floats<T, V>(other, static_cast<const T*>(call.residual) + to);
#pragma unroll
    for (int e = 0; e < V; ++e) x[e] += other[e];
  }
  store_floats<T, V>(static_cast<T*>(call.out) + to, x);
}

template <typename T>
inline cudaError_t launch_interleave_upsampled(const InterleaveUpsampled& call, cudaStream_t stream) {
  const std::int64_t pixels = std::int64_t{4} * call.height * call.width;
  if (pixels == 0 || call.channels == 0 || call.images == 0) return cudaSuccess;
  if (pixels > ((std::int64_t{1} << 31) - 1) / call.channels) return cudaErrorInvalidValue;
  const auto go = [&](auto kernel, int vector) {
    const auto count = static_cast<unsigned>(pixels * call.channels / vector);
    const dim3 grid((count + kInterleaveThreads - 1) / kInterleaveThreads, static_cast<unsigned>(call.images));
    return launch("interleave_upsampled", kernel, grid, dim3(kInterleaveThreads), 0, stream, call, count);
  };
  const bool vectors = call.channels % kPerVector<T> == 0 && is_aligned(call.input) && is_aligned(call.bias) &&
                       is_aligned(call.residual) && is_aligned(call.out);
  return vectors ? go(interleave_upsampled_kernel<T, kPerVector<T>>, kPerVector<T>)
                 : go(interleave_upsampled_kernel<T, 1>, 1);
}

}  // namespace i2i::cuda
