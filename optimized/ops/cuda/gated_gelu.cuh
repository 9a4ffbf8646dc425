// What follows the product of a GEGLU: value * gelu(gate). Grid: one vector of `out` a thread, blocks of 256. Bytes:
// each tensor once, in 128-bit accesses where the width allows. Answers to linear with activation geglu in
// optimized/ops.inc, where the product is a library's.
#pragma once

#include "optimized/ops/cuda/gated_gelu.h"
#include "optimized/ops/cuda/gelu.cuh"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kGatedGeluThreads = 256;

/// `width` in vectors of V elements.
template <typename T, int V>
I2I_GLOBAL __launch_bounds__(kGatedGeluThreads)
    gated_gelu_kernel(const T* input, T* out, unsigned count, unsigned width) {
  const unsigned i = blockIdx.x * kGatedGeluThreads + threadIdx.x;
  if (i >= count) return;
  const unsigned row = i / width, column = i % width;
  const T* from = input + (static_cast<std::int64_t>(row) * 2 * width + column) * V;
  float value[V], gate[V];
  load_floats<T, V>(value, from);
  load_floats<T, V>(gate, from + static_cast<std::int64_t>(width) * V);
#pragma unroll
  for (int e = 0; e < V; ++e) value[e] *= gelu(gate[e]);
  store_floats<T, V>(out + static_cast<std::int64_t>(i) * V, value);
}

template <typename T>
inline cudaError_t launch_gated_gelu(const GatedGelu& call, cudaStream_t stream) {
  constexpr int kV = kPerVector<T>;
  const std::int64_t elements = call.rows * call.channels;
  if (elements == 0) return cudaSuccess;
  if (elements >= std::int64_t{1} << 31) return cudaErrorInvalidValue;
  const auto go = [&](auto kernel, int vector) {
    const auto count = static_cast<unsigned>(elements / vector);
    return launch("gated_gelu", kernel, dim3((count + kGatedGeluThreads - 1) / kGatedGeluThreads),
                  dim3(kGatedGeluThreads), 0, stream, static_cast<const T*>(call.input), static_cast<T*>(call.out),
                  count, static_cast<unsigned>(call.channels / vector));
  };
  const bool vectors = call.channels % kV == 0 && is_aligned(call.input) && is_aligned(call.out);
  return vectors ? go(gated_gelu_kernel<T, kV>, kV) : go(gated_gelu_kernel<T, 1>, 1);
}

}  // namespace i2i::cuda
