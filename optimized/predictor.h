// The UNet's half of a step: noise_pred of the guidance rows that the step evaluates, with what earlier steps of the
// request left for it. One predictor per request, as there is one stepper (stepper.h). Called by pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "optimized/conditioning.h"
#include "optimized/cuda/backend.h"
#include "optimized/loop_plan.h"
#include "optimized/unet.h"

namespace i2i {

/// One UNet call of a step, and what the UNet makes of its prompts once per request.
struct UNetCall {
  Conditioning conditioning;
  TextKeyValues text;  ///< empty where it is made in each step
  TimeTable time;      ///< of all steps, from the first of them on; or the step's own alone
};

/// All rows in one call, or (batched_guidance off) one call per row.
std::vector<UNetCall> make_calls(const OptimizedUNet& unet, const Features& features, const Conditioning& conditioning);

class Predictor {
 public:
  /// Rows of the guidance batch that steps evaluate together.
  struct Rows {
    std::vector<UNetCall> calls;
    at::Tensor condition;  ///< [rows,4,h,w], the source's channels, where the UNet takes them
    std::int64_t count = 0;

    /// How many rows one image of the UNet's input stands for: all of them where they differ in nothing but their text.
    std::int64_t copies(const Features& features) const;
  };

  /// @param runtime, unet, plan  outlive the predictor
  /// @param captured  replays a step as one piece of work, where features allow; null: every step is launched anew
  /// @param all       the whole guidance batch
  /// @param trace     receives the UNet's input and output; may be null
  Predictor(Runtime& runtime, const OptimizedUNet& unet, CapturedWork* captured, const LoopPlan& plan, Rows all,
            TraceSink* trace);

  /// Steps are taken in order from 0. @param latents  [B,4,h,w]
  /// @return  [RB,4,h,w], before guidance; R is 1 where the step is not guided
  at::Tensor predict(std::size_t step, const at::Tensor& latents);

 private:
  Rows& rows_of(std::size_t step);
  Rows conditional_alone() const;
  TimeBiases time_of(UNetCall& call, std::size_t step) const;
  void prepare_deep(std::size_t step, std::int64_t rows);
  at::Tensor evaluate(std::vector<UNetCall>& calls, std::size_t step, const at::Tensor& unet_in, std::int64_t copies);
  at::Tensor predict_captured(std::size_t step, const at::Tensor& latents);

  Runtime& runtime_;
  const OptimizedUNet& unet_;
  CapturedWork* captured_;  ///< null where steps are not captured
  const LoopPlan& plan_;
  TraceSink* trace_;
  Rows all_, conditional_;          ///< the latter made when a step first asks for it
  std::int64_t conditional_row_;    ///< of all_
  std::vector<DeepFeatures> deep_;  ///< of the last whole step, one per UNet call; empty where none are reused
};

}  // namespace i2i
