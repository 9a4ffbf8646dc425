// Prompts as the UNet receives them: tokens, text encoders, and the order of rows in the guidance batch. What the UNet
// then makes of them once per request is predictor.h's. Called by pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "interface/action_plan.h"
#include "interface/pipeline.h"
#include "optimized/text_encoder.h"

namespace i2i {

/// R rows, one per guidance pass: semantics.md section 10 has their order.
struct Conditioning {
  at::Tensor embeds;          ///< [R,T,D]
  at::Tensor pooled;          ///< [R,P], SDXL only
  at::Tensor time_ids;        ///< [R,6], SDXL only; [R,5] for its refiner
  double guidance_scale = 1;  ///< for a UNet that embeds it
};

/// One row as a batch of its own.
Conditioning row_of(const Conditioning& all, std::int64_t row);

class PromptEncoder {
 public:
  /// @param runtime, model  outlive the encoder
  PromptEncoder(Runtime& runtime, const Model& model);

  /// @param trace  receives the token ids; may be null
  Conditioning operator()(const Request& request, const ActionPlan& plan, TraceSink* trace) const;

 private:
  std::vector<TextStates> encode(const Request& request, bool guided, TraceSink* trace) const;
  at::Tensor time_ids(const ActionPlan& plan) const;

  Runtime* runtime_;
  const Model* model_;
  std::vector<OptimizedTextEncoder> encoders_;
};

}  // namespace i2i
