// LayerNorm with the residual before it. Grid: rows / 4; block: four warps, one row each, which the lanes hold in
// registers: input, residual once, out (and sum) once; weights come from the caches. Rows that are longer than 2048, or
// not made of 128-bit vectors, are read three times instead. fp32 arithmetic. Answers to optimized/ops.inc's
// layer_norm.
#pragma once

#include "optimized/ops/cuda/layer_norm.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kLayerNormWarps = 4;

I2I_DEVICE std::int64_t row_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * kLayerNormWarps + threadIdx.x / kWarp;
}

/// What a first, roughly summed mean leaves: the sums of d = x - mean and of d^2 over a row.
struct RowMoments {
  float correction;  ///< mean of d
  float scale;       ///< 1 / sqrt(variance + eps)
  I2I_DEVICE RowMoments(float sum, float squares, int channels, float eps) {
    correction = sum / static_cast<float>(channels);
    scale = 1.0f / sqrtf(squares / static_cast<float>(channels) - correction * correction + eps);
  }
};

/// Rows of at most 32 * PerLane channels, in 128-bit vectors.
template <typename T, int PerLane>
I2I_GLOBAL __launch_bounds__(kLayerNormWarps* kWarp) layer_norm_kernel(LayerNorm call) {
  constexpr int kV = kPerVector<T>, kVectors = PerLane / kV;
  const std::int64_t row = row_of_warp();
  if (row >= call.rows) return;  // with its whole warp; there is no barrier
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t offset = row * call.channels;
  float x[kVectors][kV];
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int channel = (k * kWarp + lane) * kV;
    if (channel < call.channels) {
      load_floats<T, kV>(x[k], static_cast<const T*>(call.input) + offset + channel);
    } else {
#pragma unroll
      for (int e = 0; e < kV; ++e) x[k][e] = 0;
    }
  }
  if (call.residual != nullptr) {
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int channel = (k * kWarp + lane) * kV;
      if (channel >= call.channels) continue;
      float residual[kV];
      load_floats<T, kV>(residual, static_cast<const T*>(call.residual) + offset + channel);
#pragma unroll
      for (int e = 0; e < kV; ++e) x[k][e] += residual[e];
      if (call.sum != nullptr) store_floats<T, kV>(static_cast<T*>(call.sum) + offset + channel, x[k]);
    }
  }
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
#pragma unroll
    for (int e = 0; e < kV; ++e) sum += x[k][e];
  }
  const float mean = warp_sum(sum) / static_cast<float>(call.channels);
  float squares = 0;
  sum = 0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    if ((k * kWarp + lane) * kV >= call.channels) continue;
#pragma unroll
    for (int e = 0; e < kV; ++e) {
      x[k][e] -= mean;
      sum += x[k][e];
      squares += x[k][e] * x[k][e];
    }
  }
  const RowMoments moments(warp_sum(sum), warp_sum(squares), call.channels, call.eps);
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int channel = (k * kWarp + lane) * kV;
    if (channel >= call.channels) continue;
    float weight[kV], bias[kV];
    load_floats<float, kV>(weight, call.weight + channel);
    load_floats<float, kV>(bias, call.bias + channel);
#pragma unroll
    for (int e = 0; e < kV; ++e) x[k][e] = (x[k][e] - moments.correction) * moments.scale * weight[e] + bias[e];
    store_floats<T, kV>(static_cast<T*>(call.out) + offset + channel, x[k]);
  }
}

/// Rows of any length and alignment.
template <typename T>
I2I_GLOBAL __launch_bounds__(kLayerNormWarps* kWarp) layer_norm_any_kernel(LayerNorm call) {
  const std::int64_t row = row_of_warp();
  if (row >= call.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* input = static_cast<const T*>(call.input) + row * call.channels;
  const T* residual = call.residual == nullptr ? nullptr : static_cast<const T*>(call.residual) + row * call.channels;
  const auto value = [&](int channel) {
    return to_float(input[channel]) + (residual == nullptr ? 0.0f : to_float(residual[channel]));
  };
  float sum = 0, squares = 0;
  for (int c = lane; c < call.channels; c += kWarp) sum += value(c);
  const float mean = warp_sum(sum) / static_cast<float>(call.channels);
  sum = 0;
  for (int c = lane; c < call.channels; c += kWarp) {
    const float d = value(c) - mean;
    sum += d;
    squares += d * d;
  }
  const RowMoments moments(warp_sum(sum), warp_sum(squares), call.channels, call.eps);
  for (int c = lane; c < call.channels; c += kWarp) {
    const float x = value(c);
    if (call.sum != nullptr) static_cast<T*>(call.sum)[row * call.channels + c] = from_float<T>(x);
    static_cast<T*>(call.out)[row * call.channels + c] =
        from_float<T>((x - mean - moments.correction) * moments.scale * call.weight[c] + call.bias[c]);
  }
}

template <typename T>
inline cudaError_t launch_layer_norm(const LayerNorm& call, cudaStream_t stream) {
  if (call.rows == 0 || call.channels == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>((call.rows + kLayerNormWarps - 1) / kLayerNormWarps));
  const dim3 block(kLayerNormWarps * kWarp);
  const bool vectors = call.channels % kPerVector<T> == 0 && is_aligned(call.input) && is_aligned(call.residual) &&
                       is_aligned(call.out) && is_aligned(call.sum) && is_aligned(call.weight) && is_aligned(call.bias);
  // Without a residual the sum is the input itself, which the general kernel copies.
  const bool copies_input = call.sum != nullptr && call.residual == nullptr;
  if (!vectors || copies_input || call.channels > kWarp * 64)
    return launch("layer_norm_any", layer_norm_any_kernel<T>, grid, block, 0, stream, call);
  if (call.channels <= kWarp * 16) return launch("layer_norm", layer_norm_kernel<T, 16>, grid, block, 0, stream, call);
  if (call.channels <= kWarp * 32) return launch("layer_norm", layer_norm_kernel<T, 32>, grid, block, 0, stream, call);
  if (call.channels <= kWarp * 40) return launch("layer_norm", layer_norm_kernel<T, 40>, grid, block, 0, stream, call);
  return launch("layer_norm", layer_norm_kernel<T, 64>, grid, block, 0, stream, call);
}

}  // namespace i2i::cuda
