#include "reference/modules.h"

namespace i2i::reference {

ClipEmbeddings::ClipEmbeddings(const TextEncoderConfig& config)
    : token_embedding(child<Embedding>("token_embedding", config.vocab_size, config.hidden_size)),
      position_embedding(child<Embedding>("position_embedding", config.max_position_embeddings, config.hidden_size)) {}

at::Tensor ClipEmbeddings::forward(const at::Tensor& ids) const {
  return token_embedding->forward(ids) + position_embedding->forward(at::arange(ids.size(1), ids.options()));
}

ClipAttention::ClipAttention(const TextEncoderConfig& config)
    : heads_(config.num_attention_heads),
      k_proj(child<Linear>("k_proj", config.hidden_size, config.hidden_size)),
      v_proj(child<Linear>("v_proj", config.hidden_size, config.hidden_size)),
      q_proj(child<Linear>("q_proj", config.hidden_size, config.hidden_size)),
      out_proj(child<Linear>("out_proj", config.hidden_size, config.hidden_size)) {}

at::Tensor ClipAttention::forward(const at::Tensor& x) const {
  const auto split_heads = [this](const at::Tensor& t) {
    return t.view({t.size(0), t.size(1), heads_, t.size(2) / heads_}).transpose(1, 2);
  };
  // Causal, and no padding mask: padding is attended to like any token (semantics.md section 4).
  const auto attended =
      at::scaled_dot_product_attention(split_heads(q_proj->forward(x)), split_heads(k_proj->forward(x)),
                                       split_heads(v_proj->forward(x)), /*attn_mask=*/{}, /*dropout_p=*/0.0,
                                       /*is_causal=*/true);
  return out_proj->forward(attended.transpose(1, 2).reshape(x.sizes()));
}

ClipMlp::ClipMlp(const TextEncoderConfig& config)
    : quick_gelu_(config.hidden_act == "quick_gelu"),
      fc1(child<Linear>("fc1", config.hidden_size, config.intermediate_size)),
      fc2(child<Linear>("fc2", config.intermediate_size, config.hidden_size)) {
  if (!quick_gelu_ && config.hidden_act != "gelu") {
    throw Error(ErrorCode::kGenerationFailed,
                "text encoder: hidden_act \"" + config.hidden_act + "\" is neither quick_gelu nor gelu");
  }
}

at::Tensor ClipMlp::forward(const at::Tensor& input) const {
  const auto x = fc1->forward(input);
  return fc2->forward(quick_gelu_ ? x * at::sigmoid(1.702 * x) : at::gelu(x));
}

ClipEncoderLayer::ClipEncoderLayer(const TextEncoderConfig& config)
    : self_attn(child<ClipAttention>("self_attn", config)),
      layer_norm1(child<LayerNorm>("layer_norm1", config.hidden_size, config.layer_norm_eps)),
      layer_norm2(child<LayerNorm>("layer_norm2", config.hidden_size, config.layer_norm_eps)),
      mlp(child<ClipMlp>("mlp", config)) {}

at::Tensor ClipEncoderLayer::forward(const at::Tensor& input) const {
  const auto x = input + self_attn->forward(layer_norm1->forward(input));
  return x + mlp->forward(layer_norm2->forward(x));
}

ClipEncoder::ClipEncoder(const TextEncoderConfig& config) : layers(child<List<ClipEncoderLayer>>("layers")) {
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) layers->append(config);
}

TextEncoder::TextEncoder(const TextEncoderConfig& config)
    : config_(config),
      embeddings(child<ClipEmbeddings>("embeddings", config)),
      encoder(child<ClipEncoder>("encoder", config)),
      final_layer_norm(child<LayerNorm>("final_layer_norm", config.hidden_size, config.layer_norm_eps)) {
  if (config.with_projection) {
    text_projection = child<Linear>("text_projection", config.hidden_size, config.projection_dim, /*with_bias=*/false);
  }
}

TextEncoder::Output TextEncoder::forward(const at::Tensor& ids) const {
  Output output;
  auto x = embeddings->forward(ids);
  for (std::size_t i = 0; i < encoder->layers->size(); ++i) {
    output.penultimate = x;
    x = (*encoder->layers)[i].forward(x);
  }
  output.last_hidden_state = final_layer_norm->forward(x);
  if (text_projection) {
    // The text's feature is the one at its end token. Old configs carry eos_token_id 2, which no tokenizer produces;
    // there the end token is found as the largest id. argmax gives the first occurrence.
    const auto is_end = config_.eos_token_id == 2 ? ids : ids.eq(config_.eos_token_id).to(at::kLong);
    const auto rows = at::arange(ids.size(0), ids.options());
    output.text_embeds = text_projection->forward(output.last_hidden_state.index({rows, is_end.argmax(1)}));
  }
  return output;
}

}  // namespace i2i::reference
