#include <cmath>

#include "reference/modules.h"

namespace i2i::reference {

at::Tensor sinusoidal_embedding(const at::Tensor& values, std::int64_t size, bool flip_sin_to_cos, double freq_shift) {
  const auto half = size / 2;
  const auto exponents = at::arange(half, values.options()) * (-std::log(10000.0) / (double(half) - freq_shift));
  const auto angles = values.unsqueeze(1) * at::exp(exponents).unsqueeze(0);
  const auto embedding = flip_sin_to_cos ? at::cat({angles.cos(), angles.sin()}, 1)  //
                                         : at::cat({angles.sin(), angles.cos()}, 1);
  return at::constant_pad_nd(embedding, {0, size % 2});
}

TimestepEmbedding::TimestepEmbedding(std::int64_t in, std::int64_t size, std::int64_t condition)
    : linear_1(child<Linear>("linear_1", in, size)), linear_2(child<Linear>("linear_2", size, size)) {
  if (condition > 0) cond_proj = child<Linear>("cond_proj", condition, in, /*with_bias=*/false);
}

at::Tensor TimestepEmbedding::forward(const at::Tensor& x, const at::Tensor& condition) const {
  return linear_2->forward(at::silu(linear_1->forward(cond_proj ? x + cond_proj->forward(condition) : x)));
}

ResnetBlock2D::ResnetBlock2D(std::int64_t in, std::int64_t out, std::int64_t temb_channels, std::int64_t groups,
                             double eps)
    : norm1(child<GroupNorm>("norm1", groups, in, eps)),
      norm2(child<GroupNorm>("norm2", groups, out, eps)),
      conv1(child<Conv2d>("conv1", in, out, 3, 1, 1)),
      conv2(child<Conv2d>("conv2", out, out, 3, 1, 1)) {
  if (temb_channels > 0) time_emb_proj = child<Linear>("time_emb_proj", temb_channels, out);
  if (in != out) conv_shortcut = child<Conv2d>("conv_shortcut", in, out, 1);
}

at::Tensor ResnetBlock2D::forward(const at::Tensor& x, const at::Tensor& temb) const {
  auto h = conv1->forward(at::silu(norm1->forward(x)));
  if (time_emb_proj) h = h + time_emb_proj->forward(at::silu(temb)).unsqueeze(-1).unsqueeze(-1);
  h = conv2->forward(at::silu(norm2->forward(h)));
  return (conv_shortcut ? conv_shortcut->forward(x) : x) + h;
}

Attention::Attention(std::int64_t size, std::int64_t context, std::int64_t heads, bool qkv_bias)
    : heads_(heads),
      to_q(child<Linear>("to_q", size, size, qkv_bias)),
      to_k(child<Linear>("to_k", context, size, qkv_bias)),
      to_v(child<Linear>("to_v", context, size, qkv_bias)),
      to_out(child<List<Linear>>("to_out")) {
  to_out->append(size, size);
}

at::Tensor Attention::forward(const at::Tensor& x, const at::Tensor& context) const {
  // [B,S,heads*d] -> [B,heads,S,d]
  const auto split_heads = [this](const at::Tensor& t) {
    return t.view({t.size(0), t.size(1), heads_, t.size(2) / heads_}).transpose(1, 2);
  };
  const auto q = split_heads(to_q->forward(x));
  const auto k = split_heads(to_k->forward(context));
  const auto v = split_heads(to_v->forward(context));
  const auto attended = at::scaled_dot_product_attention(q, k, v);
  return (*to_out)[0].forward(attended.transpose(1, 2).reshape(x.sizes()));
}

Geglu::Geglu(std::int64_t in, std::int64_t out) : proj(child<Linear>("proj", in, 2 * out)) {}

at::Tensor Geglu::forward(const at::Tensor& x) const {
  const auto halves = proj->forward(x).chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

FeedForward::FeedForward(std::int64_t size) {
  // "1" is the dropout that training puts between the two.
  auto net = register_module("net", std::make_shared<Block>());
  geglu = net->register_module("0", std::make_shared<Geglu>(size, 4 * size));
  out = net->register_module("2", std::make_shared<Linear>(4 * size, size));
}

at::Tensor FeedForward::forward(const at::Tensor& x) const { return out->forward(geglu->forward(x)); }

BasicTransformerBlock::BasicTransformerBlock(std::int64_t size, std::int64_t context, std::int64_t heads)
    : norm1(child<LayerNorm>("norm1", size)),
      norm2(child<LayerNorm>("norm2", size)),
      norm3(child<LayerNorm>("norm3", size)),
      attn1(child<Attention>("attn1", size, size, heads, /*qkv_bias=*/false)),
      attn2(child<Attention>("attn2", size, context, heads, /*qkv_bias=*/false)),
      ff(child<FeedForward>("ff", size)) {}

at::Tensor BasicTransformerBlock::forward(const at::Tensor& input, const at::Tensor& encoder_hidden_states) const {
  const auto normed = norm1->forward(input);
  auto x = input + attn1->forward(normed, normed);
  x = x + attn2->forward(norm2->forward(x), encoder_hidden_states);
  return x + ff->forward(norm3->forward(x));
}

Transformer2D::Transformer2D(std::int64_t channels, std::int64_t heads, std::int64_t layers, const UNetConfig& config)
    : norm(child<GroupNorm>("norm", config.norm_num_groups, channels, 1e-6)) {
  if (config.use_linear_projection) {
    linear_in = child<Linear>("proj_in", channels, channels);
    linear_out = child<Linear>("proj_out", channels, channels);
  } else {
    conv_in = child<Conv2d>("proj_in", channels, channels, 1);
    conv_out = child<Conv2d>("proj_out", channels, channels, 1);
  }
  transformer_blocks = child<List<BasicTransformerBlock>>("transformer_blocks");
  for (std::int64_t i = 0; i < layers; ++i) transformer_blocks->append(channels, config.cross_attention_dim, heads);
}

at::Tensor Transformer2D::forward(const at::Tensor& input, const at::Tensor& encoder_hidden_states) const {
  const auto height = input.size(2), width = input.size(3);
  const auto to_tokens = [](const at::Tensor& t) { return t.flatten(2).transpose(1, 2); };  // [B,C,H,W] -> [B,HW,C]
  const auto to_map = [&](const at::Tensor& t) {
    return t.transpose(1, 2).reshape({t.size(0), t.size(2), height, width}).contiguous();
  };
  auto x = norm->forward(input);
  x = linear_in ? linear_in->forward(to_tokens(x)) : to_tokens(conv_in->forward(x));
  for (std::size_t i = 0; i < transformer_blocks->size(); ++i) {
    x = (*transformer_blocks)[i].forward(x, encoder_hidden_states);
  }
  x = linear_out ? to_map(linear_out->forward(x)) : conv_out->forward(to_map(x));
  return x + input;
}

Downsample2D::Downsample2D(std::int64_t channels, bool pad_right_and_bottom_only)
    : pad_right_and_bottom_only_(pad_right_and_bottom_only),
      conv(child<Conv2d>("conv", channels, channels, 3, 2, pad_right_and_bottom_only ? 0 : 1)) {}

at::Tensor Downsample2D::forward(const at::Tensor& x) const {
  return conv->forward(pad_right_and_bottom_only_ ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

Upsample2D::Upsample2D(std::int64_t channels) : conv(child<Conv2d>("conv", channels, channels, 3, 1, 1)) {}

at::Tensor Upsample2D::forward(const at::Tensor& x, const std::optional<std::vector<std::int64_t>>& size) const {
  const auto target = size.value_or(std::vector<std::int64_t>{2 * x.size(2), 2 * x.size(3)});
  return conv->forward(at::upsample_nearest2d(x, target));
}

}  // namespace i2i::reference
