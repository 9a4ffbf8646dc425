// What follows a convolution: bias or per-image bias, SiLU, residual. Grid: (vectors of an image / 256, images). Bytes:
// input, residual and out once, in 128-bit accesses where the channels allow; the bias comes from the caches. fp32
// arithmetic, rounded once. Answers to the last step of optimized/ops.inc's conv2d.
#pragma once

#include "optimized/ops/cuda/conv_epilogue.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kEpilogueThreads = 256;

template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kEpilogueThreads) conv_epilogue_kernel(ConvEpilogue call, unsigned count) {
  const unsigned i = blockIdx.x * kEpilogueThreads + threadIdx.x;
  if (i >= count) return;
  const auto image = static_cast<std::int64_t>(blockIdx.y);
  const std::int64_t at = image * call.pixels * call.channels + static_cast<std::int64_t>(i) * V;
  float x[V], other[V];
  load_floats<T, V>(x, static_cast<const T*>(call.input) + at);
  if (call.bias != nullptr) {
    const unsigned channel = i % static_cast<unsigned>(call.channels / V) * V;
    const std::int64_t row = image * call.bias_rows / call.images;
    load_floats<T, V>(other, static_cast<const T*>(call.bias) + row * call.channels + channel);
#pragma unroll
    for (int e = 0; e < V; ++e) x[e] += other[e];
  }
  if (call.silu) {
#pragma unroll
    for (int e = 0; e < V; ++e) x[e] = silu<T>(x[e]);
  }
  if (call.residual != nullptr) {
    load_floats<T, V>(other, static_cast<const T*>(call.residual) + at);
#pragma unroll
    for (int e = 0; e < V; ++e) x[e] += other[e];
  }
  store_floats<T, V>(static_cast<T*>(call.out) + at, x);
}

template <typename T>
inline cudaError_t launch_conv_epilogue(const ConvEpilogue& call, cudaStream_t stream) {
  const std::int64_t elements = call.pixels * call.channels;
  if (elements == 0 || call.images == 0) return cudaSuccess;
  if (elements >= std::int64_t{1} << 31) return cudaErrorInvalidValue;
  const auto go = [&](auto kernel, int vector) {
    const auto count = static_cast<unsigned>(elements / vector);
    const dim3 grid((count + kEpilogueThreads - 1) / kEpilogueThreads, static_cast<unsigned>(call.images));
    return launch("conv_epilogue", kernel, grid, dim3(kEpilogueThreads), 0, stream, call, count);
  };
  const bool vectors = call.channels % kPerVector<T> == 0 && is_aligned(call.input) && is_aligned(call.bias) &&
                       is_aligned(call.residual) && is_aligned(call.out);
  return vectors ? go(conv_epilogue_kernel<T, kPerVector<T>>, kPerVector<T>) : go(conv_epilogue_kernel<T, 1>, 1);
}

}  // namespace i2i::cuda
