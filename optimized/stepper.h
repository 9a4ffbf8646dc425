// Runs the rows of step_coefficients.h: guidance, one linear step, and what later rows will read. Called by
// pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "optimized/features.h"
#include "optimized/step_coefficients.h"

namespace i2i {

/// How rows become one noise_pred: semantics.md section 10.
struct Guidance {
  double guidance_scale = 1;
  double image_guidance_scale = 1;
  double guidance_rescale = 0;
};

/// What rows and guidance are to ops::guided_step. @return  [rows,ops::kGuidedStepScalars] fp32
at::Tensor step_scalars(const StepSchedule& schedule, const Guidance& guidance);

/// Latents take turns in two memories, remembered tensors in as many as the schedule looks back; never one memory for
/// two of them.
class Stepper {
 public:
  /// @param schedule  outlives the stepper
  /// @param scalars   step_scalars of schedule and guidance, where latents are; fused_guided_step reads numbers there
  ///                  and nowhere else, but for guidance_rescale
  Stepper(const StepSchedule& schedule, const Features& features, const Guidance& guidance, at::Tensor scalars);

  /// The sample after row i; rows are taken in order from 0.
  /// @param noise_pred  [RB,4,h,w], before guidance, R of 1, 2 or 3
  /// @param sample      [B,4,h,w]
  /// @param noise       [B,4,h,w] where the row draws, otherwise undefined
  /// @param guided      receives guidance's result, where defined
  at::Tensor step(std::size_t i, const at::Tensor& noise_pred, const at::Tensor& sample, const at::Tensor& noise,
                  const at::Tensor& guided);

 private:
  at::Tensor fused_step(std::size_t i, const StepRow& row, const at::Tensor& noise_pred, const at::Tensor& sample,
                        const at::Tensor& noise, const at::Tensor& guided);
  at::Tensor plain_step(const StepRow& row, const at::Tensor& noise_pred, const at::Tensor& sample,
                        const at::Tensor& noise, const at::Tensor& guided);
  at::Tensor spare_sample(const at::Tensor& sample);
  void remember(const at::Tensor& tensor);

  const StepSchedule& schedule_;
  bool fused_;
  Guidance guidance_;
  std::size_t depth_ = 0;  ///< how far back any row looks
  at::Tensor scalars_;
  at::Tensor samples_[2];
  std::vector<at::Tensor> history_;  ///< newest first
};

}  // namespace i2i
