// The plain C++ face of guided_step.cuh: no CUDA syntax, so tests and torch bindings can include it.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// Guidance and one scheduler step as scalars; lies in device memory, one row per step, so that a captured graph reads
/// what differs between requests.
/// prev_sample = sample * x + noise_pred * guided + noise * n + sum_k history[k] * h_k
/// remembered  = remember_sample * x + remember_noise_pred * guided
struct GuidedStepRow {
  float sample;
  float noise_pred;
  float noise;
  float history[3];
  float remember_sample;
  float remember_noise_pred;
  float guidance_scale;
  float image_guidance_scale;
};

/// Guidance and one linear scheduler step, fused: one pass over the latents, no host synchronisation; a second kernel
/// before it where guidance is rescaled.
struct GuidedStep {
  const void* noise_pred;  ///< [guidance_rows, count] of noise_pred_type, in the order of semantics.md section 10
  ElementType noise_pred_type;
  int guidance_rows;         ///< 1: as it is; 2: [negative, positive]; 3: [text+image, image, neither]
  const float* sample;       ///< [count]; may be prev_sample
  const float* noise;        ///< [count], or null where the scheduler draws none
  const float* history[3];   ///< [count] each, newest first; null where the row's coefficient is 0
  const GuidedStepRow* row;  ///< device memory
  float* prev_sample;        ///< [count]
  float* remembered;         ///< [count], or null; may be the oldest history
  std::int64_t count;        ///< images * channels * height * width

  float* guided = nullptr;     ///< [count]: the guided noise_pred, or null
  int channels = 0;            ///< not 0: each image of noise_pred is [pixels, channels], everything else is NCHW
  std::int64_t pixels = 0;     ///< of an image, where `channels` is given
  float guidance_rescale = 0;  ///< Lin et al. 2024 (arXiv:2305.08891), eq. 15 and 16; without guidance it does nothing
  float* rescale_factor = nullptr;  ///< [images], workspace for guidance_rescale
  int images = 1;                   ///< count / images elements have a standard deviation of their own
};

/// @return the launch's error; cudaErrorInvalidValue where guidance_rows is not 1, 2 or 3, where sizes do not fit, or
///         where guidance_rescale has no workspace
cudaError_t guided_step(const GuidedStep& step, cudaStream_t stream);

}  // namespace i2i::cuda
