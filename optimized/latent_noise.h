// A request's Gaussian draws in the shape of its latents and on the device, in the order of semantics.md section 7.
// Called by pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "interface/noise.h"
#include "optimized/layers.h"
#include "optimized/step_coefficients.h"

namespace i2i {

class LatentNoise {
 public:
  /// @param runtime  outlives this
  /// @param latents  [any,channels,h,w]
  LatentNoise(NoiseSource source, const Runtime& runtime, const at::Tensor& latents);

  /// For the VAE's posterior: [1 or B,channels,h,w].
  at::Tensor draw_posterior();
  /// Of the start latents: [B,channels,h,w].
  at::Tensor draw_start();

  /// The noise of all steps that draw, in their order, in one transfer: on a GPU, before the loop.
  /// @return  [draws,B,channels,h,w], for whoever takes all at once; undefined where no row draws
  at::Tensor upload(const std::vector<StepRow>& rows);
  /// [B,channels,h,w]; undefined where the row draws none. Rows are taken in order.
  at::Tensor of_step(std::size_t i, const StepRow& row);

 private:
  at::Tensor draw(const StepRow& row);

  NoiseSource source_;
  std::int64_t channels_, height_, width_;
  const Runtime& runtime_;
  std::vector<at::Tensor> uploaded_;  ///< per step; empty without upload()
};

}  // namespace i2i
