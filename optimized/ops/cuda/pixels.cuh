// Pixels to the VAE's input and back. Grid: four elements a thread, blocks of 256. Each byte is read and written once.
// fp32 arithmetic in the reference's order, with its roundings: 2 * x - 1 and x / 2 + 1/2 lose nothing when they are
// contracted, since the products are exact. Answers to optimized/ops.inc's pixels_to_sample and sample_to_pixels.
#pragma once

#include "optimized/ops/cuda/pixels.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kPixelThreads = 256;
constexpr int kPixelsOfAThread = 4;

I2I_DEVICE float sample_of(std::uint8_t pixel) { return 2.0f * (static_cast<float>(pixel) / 255.0f) - 1.0f; }

/// NaN passes both comparisons by, so that a check downstream sees it.
I2I_DEVICE float image_of(float sample) {
  const float value = sample * 0.5f + 0.5f;
  return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}
I2I_DEVICE std::uint8_t byte_of(float image) {
  return image >= 0.0f ? static_cast<std::uint8_t>(rintf(255.0f * image)) : std::uint8_t{0};
}

/// Where this thread's elements begin.
I2I_DEVICE std::int64_t first_of_thread() {
  return (static_cast<std::int64_t>(blockIdx.x) * kPixelThreads + threadIdx.x) * kPixelsOfAThread;
}

template <typename T>
I2I_GLOBAL __launch_bounds__(kPixelThreads)
    pixels_to_sample_kernel(const std::uint8_t* pixels, T* sample, std::int64_t count, bool vectors) {
  constexpr int kN = kPixelsOfAThread;
  const std::int64_t first = first_of_thread();
  if (vectors && first + kN <= count) {
    const auto bytes = load<VectorOf<std::uint8_t, kN>>(pixels + first);
    float values[kN];
    for (int e = 0; e < kN; ++e) values[e] = sample_of(bytes.value[e]);
    store_floats<T, kN>(sample + first, values);
    return;
  }
  for (std::int64_t i = first; i < first + kN && i < count; ++i) sample[i] = from_float<T>(sample_of(pixels[i]));
}

template <typename T>
I2I_GLOBAL __launch_bounds__(kPixelThreads)
    sample_to_pixels_kernel(const T* sample, float* image, std::uint8_t* bytes, std::int64_t count, bool vectors) {
  constexpr int kN = kPixelsOfAThread;
  const std::int64_t first = first_of_thread();
  if (vectors && first + kN <= count) {
    float values[kN];
    load_floats<T, kN>(values, sample + first);
    VectorOf<std::uint8_t, kN> rounded;
    for (int e = 0; e < kN; ++e) {
      values[e] = image_of(values[e]);
      rounded.value[e] = byte_of(values[e]);
    }
    if (image != nullptr) store_floats<float, kN>(image + first, values);
    if (bytes != nullptr) store(bytes + first, rounded);
    return;
  }
  for (std::int64_t i = first; i < first + kN && i < count; ++i) {
    const float value = image_of(to_float(sample[i]));
    if (image != nullptr) image[i] = value;
    if (bytes != nullptr) bytes[i] = byte_of(value);
  }
}

inline dim3 pixel_grid(std::int64_t count) {
  constexpr std::int64_t kOfABlock = kPixelThreads * kPixelsOfAThread;
  return dim3(static_cast<unsigned>((count + kOfABlock - 1) / kOfABlock));
}

template <typename T>
inline cudaError_t launch_pixels_to_sample(const std::uint8_t* pixels, T* sample, std::int64_t count,
                                           cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch("pixels_to_sample", pixels_to_sample_kernel<T>, pixel_grid(count), dim3(kPixelThreads), 0, stream,
                pixels, sample, count, is_aligned(pixels) && is_aligned(sample));
}

template <typename T>
inline cudaError_t launch_sample_to_pixels(const T* sample, float* image, std::uint8_t* bytes, std::int64_t count,
                                           cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return launch("sample_to_pixels", sample_to_pixels_kernel<T>, pixel_grid(count), dim3(kPixelThreads), 0, stream,
                sample, image, bytes, count, is_aligned(sample) && is_aligned(image) && is_aligned(bytes));
}

}  // namespace i2i::cuda
