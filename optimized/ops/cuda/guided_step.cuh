// Guidance + scheduler step. Grid: enough blocks of 256 threads for one pass, four elements a thread, a loop beyond
// that. Bytes: noise_pred once per row, sample, noise and used histories once, prev_sample and remembered once. fp32
// arithmetic. Answers to optimized/ops.inc's guided_step and, through it, to semantics.md sections 8 and 10.
#pragma once

#include "optimized/ops/cuda/device.cuh"
#include "optimized/ops/cuda/guided_step.h"

namespace i2i::cuda {

constexpr int kGuidedStepThreads = 256;
constexpr int kGuidedStepMaxBlocks = 1024;

template <typename T>
struct alignas(4 * sizeof(T)) FourOf {
  T value[4];
};

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

template <typename T, int Rows>
I2I_GLOBAL __launch_bounds__(kGuidedStepThreads) guided_step_kernel(GuidedStep step) {
  const GuidedStepRow row = *step.row;
  const auto* noise_pred = static_cast<const T*>(step.noise_pred);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;

  // Rows after the first start at a multiple of count: vector loads need that to be a multiple of four.
  const std::int64_t vectors = step.count % 4 == 0 ? step.count / 4 : 0;
  for (std::int64_t v = first; v < vectors; v += stride) {
    FourOf<T> pred[Rows];
    for (int r = 0; r < Rows; ++r) pred[r] = load<FourOf<T>>(noise_pred + r * step.count + 4 * v);
    const auto sample = load<FourOf<float>>(step.sample + 4 * v);
    FourOf<float> noise{}, history[3]{};
    if (step.noise != nullptr) noise = load<FourOf<float>>(step.noise + 4 * v);
    for (int k = 0; k < 3; ++k) {
      if (step.history[k] != nullptr) history[k] = load<FourOf<float>>(step.history[k] + 4 * v);
    }
    FourOf<float> prev_sample, remembered;
    for (int e = 0; e < 4; ++e) {
      float rows[Rows];
      for (int r = 0; r < Rows; ++r) rows[r] = to_float(pred[r].value[e]);
      const float guided = guide<Rows>(rows, step.guidance_scale, step.image_guidance_scale);
      prev_sample.value[e] = row.sample * sample.value[e] + row.noise_pred * guided + row.noise * noise.value[e] +
                             row.history[0] * history[0].value[e] + row.history[1] * history[1].value[e] +
                             row.history[2] * history[2].value[e];
      remembered.value[e] = row.remember_sample * sample.value[e] + row.remember_noise_pred * guided;
    }
    store(step.prev_sample + 4 * v, prev_sample);
    if (step.remembered != nullptr) store(step.remembered + 4 * v, remembered);
  }

  for (std::int64_t i = 4 * vectors + first; i < step.count; i += stride) {
    float rows[Rows];
    for (int r = 0; r < Rows; ++r) rows[r] = to_float(noise_pred[r * step.count + i]);
    const float guided = guide<Rows>(rows, step.guidance_scale, step.image_guidance_scale);
    const float sample = step.sample[i];
    float prev_sample = row.sample * sample + row.noise_pred * guided;
    if (step.noise != nullptr) prev_sample += row.noise * step.noise[i];
    for (int k = 0; k < 3; ++k) {
      if (step.history[k] != nullptr) prev_sample += row.history[k] * step.history[k][i];
    }
    step.prev_sample[i] = prev_sample;
    if (step.remembered != nullptr)
      step.remembered[i] = row.remember_sample * sample + row.remember_noise_pred * guided;
  }
}

template <typename T>
inline cudaError_t launch_guided_step(const GuidedStep& step, cudaStream_t stream) {
  if (step.count == 0) return cudaSuccess;
  const std::int64_t work = step.count % 4 == 0 ? step.count / 4 : step.count;
  const std::int64_t blocks = (work + kGuidedStepThreads - 1) / kGuidedStepThreads;
  const dim3 grid(static_cast<unsigned>(blocks < kGuidedStepMaxBlocks ? blocks : kGuidedStepMaxBlocks));
  const dim3 block(kGuidedStepThreads);
  switch (step.guidance_rows) {
    case 1:
      return launch("guided_step", guided_step_kernel<T, 1>, grid, block, 0, stream, step);
    case 2:
      return launch("guided_step", guided_step_kernel<T, 2>, grid, block, 0, stream, step);
    case 3:
      return launch("guided_step", guided_step_kernel<T, 3>, grid, block, 0, stream, step);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace i2i::cuda
