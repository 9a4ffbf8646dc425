// Latents and condition to the UNet's input. Grid: (pixels / 256, rows of the guidance batch); a thread gathers one
// pixel from every plane and stores it as one vector. Bytes: latents once per row (from the cache after the first),
// condition once per row that uses it, out once. Answers to optimized/ops.inc's unet_input.
#pragma once

#include "optimized/ops/cuda/rows.cuh"
#include "optimized/ops/cuda/unet_input.h"

namespace i2i::cuda {

constexpr int kUNetInputThreads = 256;

I2I_DEVICE float unet_input_element(const UNetInput& call, int row, int pixel, int channel) {
  if (channel < call.channels)
    return call.latents[(static_cast<std::int64_t>(row % call.images) * call.channels + channel) * call.pixels +
                        pixel] *
           call.scale;
  const std::int64_t set = static_cast<std::int64_t>(row) * call.conditions / call.rows;
  return call.condition[(set * call.extra + channel - call.channels) * call.pixels + pixel];
}

/// @tparam Width channels + extra where that makes a vector, 0 for any
template <typename T, int Width>
I2I_GLOBAL __launch_bounds__(kUNetInputThreads) unet_input_kernel(UNetInput call) {
  const int pixel = static_cast<int>(blockIdx.x) * kUNetInputThreads + static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y), width = call.channels + call.extra;
  if (pixel >= call.pixels) return;
  T* const out = static_cast<T*>(call.out) + (static_cast<std::int64_t>(row) * call.pixels + pixel) * width;
  if constexpr (Width > 0) {
    float values[Width];
#pragma unroll
    for (int c = 0; c < Width; ++c) values[c] = unet_input_element(call, row, pixel, c);
    store_floats<T, Width>(out, values);
  } else {
    for (int c = 0; c < width; ++c) out[c] = from_float<T>(unet_input_element(call, row, pixel, c));
  }
}

template <typename T>
inline cudaError_t launch_unet_input(const UNetInput& call, cudaStream_t stream) {
  if (call.rows == 0 || call.pixels == 0) return cudaSuccess;
  if (call.images <= 0 || call.rows % call.images != 0 || (call.condition == nullptr) != (call.extra == 0) ||
      (call.condition != nullptr && (call.conditions <= 0 || call.rows % call.conditions != 0)))
    return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>((call.pixels + kUNetInputThreads - 1) / kUNetInputThreads),
                  static_cast<unsigned>(call.rows));
  const dim3 block(kUNetInputThreads);
  const int width = call.channels + call.extra;
  if (is_aligned(call.out) && width == 4)
    return launch("unet_input", unet_input_kernel<T, 4>, grid, block, 0, stream, call);
  if (is_aligned(call.out) && width == 8)
    return launch("unet_input", unet_input_kernel<T, 8>, grid, block, 0, stream, call);
  return launch("unet_input", unet_input_kernel<T, 0>, grid, block, 0, stream, call);
}

}  // namespace i2i::cuda
