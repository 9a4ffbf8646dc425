#include "optimized/text_encoder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "interface/error.h"

namespace i2i {
namespace {

ops::Activation activation_of(const std::string& name) {
  if (name == "quick_gelu") return ops::kQuickGelu;
  if (name == "gelu") return ops::kGelu;
  throw Error(ErrorCode::kGenerationFailed,
              fmt::format("text encoder: hidden_act \"{}\" is neither quick_gelu nor gelu", name));
}

}  // namespace

OptimizedTextEncoder::OptimizedTextEncoder(Runtime& runtime, const TextEncoderConfig& config, const Weights& weights)
    : runtime_(&runtime), config_(config) {
  const WeightReader reader(weights, "", runtime.device);
  token_embedding_ = (reader / "embeddings").get("token_embedding.weight");
  position_embedding_ = (reader / "embeddings").get("position_embedding.weight");
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const WeightReader from = reader / fmt::format("encoder.layers.{}", i);
    const WeightReader attention = from / "self_attn";
    const auto joined = [&](const char* what) {
      return at::cat({attention.get(fmt::format("q_proj.{}", what)), attention.get(fmt::format("k_proj.{}", what)),
                      attention.get(fmt::format("v_proj.{}", what))});
    };
    Layer layer;
    layer.norm1 = LayerNorm(from / "layer_norm1", config.layer_norm_eps);
    layer.norm2 = LayerNorm(from / "layer_norm2", config.layer_norm_eps);
    layer.qkv = Linear(runtime, joined("weight"), joined("bias"));
    layer.out = Linear(runtime, attention / "out_proj");
    layer.fc1 = Linear(runtime, from / "mlp.fc1", activation_of(config.hidden_act));
    layer.fc2 = Linear(runtime, from / "mlp.fc2");
    layers_.push_back(layer);
    from.release();
  }
  final_norm_ = LayerNorm(reader / "final_layer_norm", config.layer_norm_eps);
  if (config.with_projection) text_projection_ = reader.get("text_projection.weight");
  reader.release();
}

TextStates OptimizedTextEncoder::operator()(const at::Tensor& token_ids) const {
  Runtime& runtime = *runtime_;
  const at::Tensor ids = runtime.uploaded(token_ids);
  at::Tensor hidden =
      (at::embedding(token_embedding_, ids) + position_embedding_.slice(0, 0, ids.size(1))).to(runtime.activation);
  TextStates states;
  for (const Layer& layer : layers_) {
    if (&layer == &layers_.back()) states.penultimate_hidden = hidden.to(at::kFloat);
    const at::Tensor attended =
        self_attention(runtime, layer.qkv(runtime, layer.norm1(runtime, hidden)), config_.num_attention_heads, true);
    hidden = layer.out(runtime, attended, hidden);
    hidden = layer.fc2(runtime, layer.fc1(runtime, layer.norm2(runtime, hidden)), hidden);
  }
  states.last_hidden = final_norm_(runtime, hidden).to(at::kFloat);
  if (config_.with_projection) {
    // Legacy configs name end-of-text 2, which no tokenizer emits: there it is the largest id (semantics.md section 5).
    const at::Tensor marks = config_.eos_token_id == 2 ? ids : ids.eq(config_.eos_token_id).to(at::kInt);
    const at::Tensor rows = at::arange(ids.size(0), ids.options());
    const at::Tensor end = states.last_hidden.index({rows, marks.argmax(-1)});
    states.pooled = at::linear(end, text_projection_);
  }
  return states;
}

}  // namespace i2i
