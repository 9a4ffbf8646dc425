// CLIP's text encoder (Radford et al. 2021) over the fused operators: all prompts of a request in one batch.
#pragma once

#include <vector>

#include "interface/model_config.h"
#include "optimized/layers.h"

namespace i2i {

/// What one encoder says about its prompts (semantics.md section 5).
struct TextStates {
  at::Tensor last_hidden;         ///< [rows,T,D] after the final layer norm
  at::Tensor penultimate_hidden;  ///< [rows,T,D] input of the last layer, no final norm
  at::Tensor pooled;              ///< [rows,P] projected end-of-text state, where the encoder has a projection
};

class OptimizedTextEncoder {
 public:
  OptimizedTextEncoder(Runtime& runtime, const TextEncoderConfig& config, const Weights& weights);

  /// @param ids  [rows,T] int64
  TextStates operator()(const at::Tensor& ids) const;

 private:
  struct Layer {
    LayerNorm norm1, norm2;
    Linear qkv, out, fc1, fc2;
  };

  Runtime* runtime_;
  TextEncoderConfig config_;
  at::Tensor token_embedding_, position_embedding_, text_projection_;
  std::vector<Layer> layers_;
  LayerNorm final_norm_;
};

}  // namespace i2i
