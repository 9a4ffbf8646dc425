// Guidance + scheduler step. Grid: enough blocks of 256 threads for one pass, four elements a thread, a loop beyond
// that. Bytes: noise_pred once per row, sample, noise and used histories once, prev_sample, remembered and guided once.
// Where guidance is rescaled, a kernel before it (grid: images) reads noise_pred twice more. fp32 arithmetic. Answers
// to optimized/ops.inc's guided_step and, through it, to semantics.md sections 8 and 10.
#pragma once

#include "optimized/ops/cuda/guided_step.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kGuidedStepThreads = 256;
constexpr int kGuidedStepMaxBlocks = 1024;
constexpr int kRescaleThreads = 512;

/// Classifier-free guidance of one element (Ho & Salimans 2022; Brooks et al. 2023, eq. 3, for three rows).
template <int Rows>
I2I_DEVICE float guide(const float (&noise_pred)[Rows], float guidance_scale, float image_guidance_scale) {
  if constexpr (Rows == 1) return noise_pred[0];
  if constexpr (Rows == 2) return noise_pred[0] + guidance_scale * (noise_pred[1] - noise_pred[0]);
  if constexpr (Rows == 3) {
    return noise_pred[2] + guidance_scale * (noise_pred[0] - noise_pred[1]) +
           image_guidance_scale * (noise_pred[1] - noise_pred[2]);
  }
}

/// The row that text and image both condition, whose deviation guidance_rescale aims at.
template <int Rows>
constexpr int kTextRow = Rows == 2 ? 1 : 0;

/// One image's factor for the guided noise_pred: rescale * deviation(text row) / deviation(guided) + 1 - rescale. Order
/// of elements does not matter here, so noise_pred is read as it lies.
template <typename T, int Rows>
I2I_GLOBAL __launch_bounds__(kRescaleThreads) guided_rescale_kernel(GuidedStep step) {
  constexpr int kWarps = kRescaleThreads / kWarp;
  const std::int64_t elements = step.count / step.images;
  const T* const noise_pred = static_cast<const T*>(step.noise_pred) + blockIdx.x * elements;
  const float guidance_scale = step.row->guidance_scale, image_guidance_scale = step.row->image_guidance_scale;
  const auto each = [&](const auto& use) {
    for (std::int64_t i = threadIdx.x; i < elements; i += kRescaleThreads) {
      float rows[Rows];
      for (int r = 0; r < Rows; ++r) rows[r] = to_float(noise_pred[r * step.count + i]);
      use(rows[kTextRow<Rows>], guide<Rows>(rows, guidance_scale, image_guidance_scale));
    }
  };
  float text_mean = 0, guided_mean = 0, text_squares = 0, guided_squares = 0;
  each([&](float text, float guided) {
    text_mean += text;
    guided_mean += guided;
  });
  text_mean = block_sum<kWarps>(text_mean) / static_cast<float>(elements);
  guided_mean = block_sum<kWarps>(guided_mean) / static_cast<float>(elements);
  each([&](float text, float guided) {
    text_squares += (text - text_mean) * (text - text_mean);
    guided_squares += (guided - guided_mean) * (guided - guided_mean);
  });
  text_squares = block_sum<kWarps>(text_squares);
  guided_squares = block_sum<kWarps>(guided_squares);
  // Both are divided by elements - 1, which cancels. One thread's few steps in double cost nothing.
  if (threadIdx.x == 0) {
    const double rescale = step.guidance_rescale, ratio = sqrt(static_cast<double>(text_squares) / guided_squares);
    step.rescale_factor[blockIdx.x] = static_cast<float>(rescale * ratio + (1.0 - rescale));
  }
}

/// Elements [i, i + V) of one row of noise_pred, in the order of `sample`.
template <typename T, int V>
I2I_DEVICE void load_noise_pred(float (&values)[V], const GuidedStep& step, const T* row, std::int64_t i) {
  if (step.channels == 0) {
    load_floats<T, V>(values, row + i);
    return;
  }
  // All V are of one channel: `pixels` is a multiple of V.
  const std::int64_t plane = i / step.pixels, pixel = i % step.pixels;
  const std::int64_t image = plane / step.channels, channel = plane % step.channels;
  const T* from = row + (image * step.pixels + pixel) * step.channels + channel;
#pragma unroll
  for (int e = 0; e < V; ++e) values[e] = to_float(from[e * step.channels]);
}

template <typename T, int Rows, int V>
I2I_DEVICE void guided_step_elements(const GuidedStep& step, const GuidedStepRow& row, float factor, std::int64_t i) {
  float rows[Rows][V], sample[V], noise[V] = {}, history[3][V] = {};
#pragma unroll
  for (int r = 0; r < Rows; ++r)
    load_noise_pred<T, V>(rows[r], step, static_cast<const T*>(step.noise_pred) + r * step.count, i);
  load_floats<float, V>(sample, step.sample + i);
  if (step.noise != nullptr) load_floats<float, V>(noise, step.noise + i);
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    if (step.history[k] != nullptr) load_floats<float, V>(history[k], step.history[k] + i);
  }
  float prev_sample[V], remembered[V], guided[V];
#pragma unroll
  for (int e = 0; e < V; ++e) {
    float of_element[Rows];
#pragma unroll
    for (int r = 0; r < Rows; ++r) of_element[r] = rows[r][e];
    guided[e] = guide<Rows>(of_element, row.guidance_scale, row.image_guidance_scale) * factor;
    prev_sample[e] = row.sample * sample[e] + row.noise_pred * guided[e] + row.noise * noise[e] +
                     row.history[0] * history[0][e] + row.history[1] * history[1][e] + row.history[2] * history[2][e];
    remembered[e] = row.remember_sample * sample[e] + row.remember_noise_pred * guided[e];
  }
  store_floats<float, V>(step.prev_sample + i, prev_sample);
  if (step.remembered != nullptr) store_floats<float, V>(step.remembered + i, remembered);
  if (step.guided != nullptr) store_floats<float, V>(step.guided + i, guided);
}

template <typename T, int Rows, int V>
I2I_GLOBAL __launch_bounds__(kGuidedStepThreads) guided_step_kernel(GuidedStep step, bool rescaled) {
  const GuidedStepRow row = *step.row;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kGuidedStepThreads * V;
  const std::int64_t of_image = step.count / step.images;
  for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kGuidedStepThreads + threadIdx.x) * V; i < step.count;
       i += stride) {
    const float factor = rescaled ? step.rescale_factor[i / of_image] : 1.0f;
    guided_step_elements<T, Rows, V>(step, row, factor, i);
  }
}

template <typename T, int Rows>
inline cudaError_t launch_guided_step_of_rows(const GuidedStep& step, cudaStream_t stream) {
  const bool rescaled = Rows > 1 && step.guidance_rescale != 0;
  if (rescaled) {
    if (step.rescale_factor == nullptr) return cudaErrorInvalidValue;
    const cudaError_t first = launch("guided_rescale", guided_rescale_kernel<T, Rows>,
                                     dim3(static_cast<unsigned>(step.images)), dim3(kRescaleThreads), 0, stream, step);
    if (first != cudaSuccess) return first;
  }
  // Vectors must not cross from one image to the next, nor rows of noise_pred lose their alignment.
  const bool vectors = step.count / step.images % 4 == 0 && (step.channels == 0 || step.pixels % 4 == 0);
  const std::int64_t work = vectors ? step.count / 4 : step.count;
  const std::int64_t blocks = (work + kGuidedStepThreads - 1) / kGuidedStepThreads;
  const dim3 grid(static_cast<unsigned>(blocks < kGuidedStepMaxBlocks ? blocks : kGuidedStepMaxBlocks));
  return launch("guided_step", vectors ? guided_step_kernel<T, Rows, 4> : guided_step_kernel<T, Rows, 1>, grid,
                dim3(kGuidedStepThreads), 0, stream, step, rescaled);
}

template <typename T>
inline cudaError_t launch_guided_step(const GuidedStep& step, cudaStream_t stream) {
  if (step.count == 0) return cudaSuccess;
  if (step.images <= 0 || step.count % step.images != 0) return cudaErrorInvalidValue;
  if (step.channels != 0 && (step.pixels <= 0 || step.count % (step.pixels * step.channels) != 0))
    return cudaErrorInvalidValue;
  switch (step.guidance_rows) {
    case 1:
      return launch_guided_step_of_rows<T, 1>(step, stream);
    case 2:
      return launch_guided_step_of_rows<T, 2>(step, stream);
    case 3:
      return launch_guided_step_of_rows<T, 3>(step, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace i2i::cuda
