// A UNet evaluation, and the whole denoising loop, as work that a CUDA graph replays for every request of the same
// shape (cuda/backend.h): nothing of a request is read but tensors. Called by predictor.cpp (a step) and pipeline.cpp
// (the loop).
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <string>
#include <vector>

#include "optimized/cuda/backend.h"
#include "optimized/loop_plan.h"
#include "optimized/predictor.h"
#include "optimized/stepper.h"

namespace i2i {

/// One evaluation of all guidance rows. Outlives the request whose rows it was made for; its runtime and UNet outlive
/// it.
class UNetWork {
 public:
  UNetWork(Runtime& runtime, const OptimizedUNet& unet, const Predictor::Rows& rows);

  /// What all steps of a request read: the condition, where there is one, and text keys and values.
  static CapturedWork::Tensors inputs(const Predictor::Rows& rows);

  /// @param scaled  [B,4,h,w], latents times the schedule's input scale
  /// @param inputs  as inputs() gives them
  /// @return        [RB,4,h,w], before guidance
  at::Tensor operator()(const at::Tensor& scaled, at::ArrayRef<at::Tensor> inputs, const TimeBiases& time) const;

  Runtime& runtime() const { return *runtime_; }
  std::size_t input_count() const { return keys_.size() + (has_condition_ ? 1 : 0); }
  /// What the evaluation depends on beside its inputs.
  std::string key() const;

 private:
  Runtime* runtime_;
  const OptimizedUNet* unet_;
  std::int64_t rows_, copies_;  ///< Predictor::Rows
  bool has_condition_;
  std::vector<std::int64_t> keys_;  ///< per transformer block, how many the text has
};

/// Whether a step depends on nothing but the values of tensors: all is made before the loop, and no step leaves
/// anything for another or for a trace.
bool step_can_be_captured(const Features& features, const LoopPlan& plan, const TraceSink* trace);

/// Whether the same holds of guidance and the scheduler's step, and nobody looks in between.
bool loop_can_be_captured(const Features& features, const LoopPlan& plan, const GenerateOptions& options);

struct CapturedLoop {
  at::Tensor latents;      ///< [B,4,h,w], overwritten by the next loop of the same shape
  at::Tensor not_finite;   ///< [steps] int64: how many values of each step's sample are NaN or infinite
  std::vector<int> marks;  ///< before the first step, then after each UNet evaluation and after each scheduler step
};

/// All steps of a request, as one piece of captured work. Its key holds shapes, the number of steps and what each row
/// of the schedule reads and remembers; scalars of schedule and guidance are inputs.
/// @param rows     all guidance rows, in one call
/// @param latents  [B,4,h,w], where the loop starts
/// @param noise    [draws,B,4,h,w] in the order of the rows that draw; undefined where none does
CapturedLoop run_captured_loop(CapturedWork& captured, Runtime& runtime, const OptimizedUNet& unet,
                               const LoopPlan& plan, const Guidance& guidance, const Predictor::Rows& rows,
                               const at::Tensor& latents, const at::Tensor& noise);

}  // namespace i2i
