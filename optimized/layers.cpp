#include "optimized/layers.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "optimized/cuda/backend.h"
#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cuda/folded_upsample.h"

namespace i2i {
namespace {

/// What the fused operators read: channels-last images, contiguous tokens.
at::Tensor for_operator(const at::Tensor& x) {
  return x.dim() == 4 ? x.contiguous(at::MemoryFormat::ChannelsLast) : x.contiguous();
}

ops::OptionalTensor for_operator(const ops::OptionalTensor& x) {
  if (!x.has_value()) return std::nullopt;
  return for_operator(*x);
}

ops::OptionalTensor optional(const at::Tensor& tensor) {
  if (!tensor.defined()) return std::nullopt;
  return tensor;
}

/// The layer's entry where int8 runs it: fp32 products of our own otherwise, and channels enough for bytes to pay.
Int8Layers::Layer* int8_entry(const Runtime& runtime, const std::string& name, std::int64_t in, std::int64_t out,
                              bool pays = true) {
  // Embeddings of time and size are few rows, and every pixel depends on them.
  if (name.starts_with("time_embedding.") || name.starts_with("add_embedding.")) return nullptr;
  if (runtime.int8 == nullptr || name.empty() || runtime.dtype != at::kFloat || !runtime.features.packed_weights) {
    return nullptr;
  }
  return std::min(in, out) >= kLeastInt8Channels ? runtime.int8->enter(name, pays) : nullptr;
}

at::Tensor plain_activation(const at::Tensor& x, ops::Activation activation) {
  switch (activation) {
    case ops::kNone:
      return x;
    case ops::kSilu:
      return at::silu(x);
    case ops::kQuickGelu:
      return x * at::sigmoid(x * 1.702);
    case ops::kGelu:
      return at::gelu(x);
    case ops::kGeglu: {
      const auto parts = x.chunk(2, -1);
      return parts[0] * at::gelu(parts[1]);
    }
  }
  return x;
}

/// [N,C,H,W] -> [N,HW,C]; tokens stay as they are.
at::Tensor as_tokens(const at::Tensor& x) { return x.dim() == 4 ? x.permute({0, 2, 3, 1}).flatten(1, 2) : x; }

at::Tensor as_form_of(const at::Tensor& tokens, const at::Tensor& form) {
  if (form.dim() != 4) return tokens;
  return tokens.unflatten(1, {form.size(2), form.size(3)}).permute({0, 3, 1, 2});
}

/// [N,T,C] -> [N,heads,T,C/heads]
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) { return x.unflatten(-1, {heads, -1}).transpose(1, 2); }

at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t heads,
                           bool causal) {
  const at::Tensor query = split_heads(q, heads);
  at::Tensor scores =
      at::matmul(query, split_heads(k, heads).transpose(-1, -2)) / std::sqrt(static_cast<double>(query.size(-1)));
  if (causal) {
    const auto future = at::ones({scores.size(-2), scores.size(-1)}, scores.options().dtype(at::kBool)).triu(1);
    scores = scores.masked_fill(future, -INFINITY);
  }
  return at::matmul(scores.softmax(-1), split_heads(v, heads)).transpose(1, 2).flatten(2);
}

/// Winograd takes a 3 x 3 convolution from two to over three times as far as the direct product, in float32: bfloat16's
/// few bits are not enough for its transforms.
bool bf16_beats_winograd() { return cpu::kernels().bf16_gain > 3; }

/// In bytes Winograd's tiles are smaller (conv2d_winograd_int8.cpp), with 1.8 to 2.3 times as many products.
bool int8_beats_winograd() { return cpu::kernels().int8_gain > 2.3; }

/// [O,I,3,3] -> [4 O,I,2,2], output channels by (dy, dx, o): folded_upsample.h.
at::Tensor folded_upsampled_weight(const at::Tensor& weight) {
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor source = weight.cpu().permute({0, 2, 3, 1}).contiguous();
  const at::Tensor folded = at::empty({4 * out, 2, 2, in}, at::kFloat);
  cuda::fold_upsampled_weight(static_cast<const float*>(source.const_data_ptr()), out, in,
                              static_cast<float*>(folded.data_ptr()));
  return folded.permute({0, 3, 1, 2});
}

}  // namespace

at::Tensor settled(const Runtime& runtime, const at::Tensor& x) {
  if (x.dim() != 4 || runtime.features.channels_last) return for_operator(x);
  return x.contiguous();
}

at::Tensor Runtime::uploaded(const at::Tensor& host) const {
  return transfers != nullptr ? transfers->upload(host) : host.to(device);
}

at::Tensor Runtime::downloaded(const at::Tensor& tensor) const {
  if (transfers == nullptr) return tensor.cpu();
  at::Tensor host = transfers->download(tensor);
  transfers->wait();
  return host;
}

at::Tensor WeightReader::get(const std::string& name) const {
  const auto found = weights_->find(prefix_ + name);
  if (found == weights_->end())
    throw Error(ErrorCode::kGenerationFailed, fmt::format("no weight named {}{}", prefix_, name));
  return found->second.to(device_, at::kFloat).contiguous();
}

void WeightReader::release() const {
  for (auto at = weights_->lower_bound(prefix_); at != weights_->end() && at->first.starts_with(prefix_); ++at)
    release_pages(at->second);
}

Linear::Linear(const Runtime& runtime, const WeightReader& reader, ops::Activation activation)
    : Linear(runtime, reader.get("weight").flatten(1), reader.has("bias") ? reader.get("bias") : at::Tensor(),
             activation, reader.name()) {}

Linear::Linear(const Runtime& runtime, const at::Tensor& weight, const at::Tensor& bias, ops::Activation activation,
               const std::string& name)
    : out_(activation == ops::kGeglu ? weight.size(0) / 2 : weight.size(0)),
      activation_(activation),
      bias_(runtime.placed(bias)) {
  packed_geglu_ = activation == ops::kGeglu && runtime.features.packed_weights && runtime.features.fused_geglu;
  int8_ = int8_entry(runtime, name, weight.size(1), out_);
  if (int8_ != nullptr) {
    int8_weight_ = ops::pack_weight_int8(weight, packed_geglu_);
    if (!runtime.int8->switchable()) return;
  }
  if (runtime.features.packed_weights) {
    packed_ = ops::pack_weight(runtime.placed_for_product(weight), packed_geglu_);
  } else {
    weight_ = runtime.placed_for_product(weight);
  }
}

at::Tensor Linear::operator()(Runtime& runtime, const at::Tensor& x, const ops::OptionalTensor& residual) const {
  const bool in_bytes = int8_ != nullptr && int8_->on;
  if (in_bytes || packed_.defined()) {
    const bool geglu_after = activation_ == ops::kGeglu && !packed_geglu_;
    const at::Tensor input = for_operator(x);
    at::Tensor out = runtime.buffers.like(input, geglu_after ? 2 * out_ : out_);
    if (int8_ != nullptr) {
      int8_->operations += 2.0 * static_cast<double>(input.numel() * out_ * (activation_ == ops::kGeglu ? 2 : 1));
    }
    const auto product = in_bytes ? ops::linear_int8 : ops::linear;
    product(input, in_bytes ? int8_weight_ : packed_, optional(bias_),
            geglu_after ? std::nullopt : for_operator(residual), geglu_after ? ops::kNone : activation_, out);
    if (!geglu_after) return settled(runtime, out);
    out = as_form_of(plain_activation(as_tokens(out), ops::kGeglu), x);
    return settled(runtime, residual.has_value() ? out + *residual : out);
  }
  at::Tensor out = as_tokens(x);
  if (weight_.scalar_type() != out.scalar_type()) {
    out = at::linear(out.to(weight_.scalar_type()), weight_).to(out.scalar_type());
    if (bias_.defined()) out = out + bias_;
  } else {
    out = at::linear(out, weight_, optional(bias_));
  }
  out = as_form_of(plain_activation(out, activation_), x);
  return settled(runtime, residual.has_value() ? out + *residual : out);
}

Conv2d::Conv2d(const Runtime& runtime, const WeightReader& reader, std::int64_t stride, std::int64_t pad_before,
               std::int64_t pad_after, bool upsamples)
    : stride_(stride), pad_before_(pad_before), pad_after_(pad_after), bias_(runtime.placed(reader.get("bias"))) {
  const at::Tensor weight = reader.get("weight");
  out_ = weight.size(0);
  in_ = weight.size(1);
  kernel_ = weight.size(2);
  if (kernel_ == 1) pad_before_ = pad_after_ = 0;
  int8_ = int8_entry(runtime, reader.name(), in_, out_, int8_beats_winograd() || !may_be_winograd(runtime));
  if (int8_ != nullptr) {
    const bool winograd = kernel_ == 3 && stride_ == 1 && pad_before_ == 1 && in_ % 16 == 0 && out_ % 16 == 0;
    int8_weight_ = winograd ? ops::pack_winograd_int8(weight) : ops::pack_weight_int8(weight);
    if (!runtime.int8->switchable()) return;
  }
  if (runtime.features.packed_weights) {
    const bool direct = !may_be_winograd(runtime) || (runtime.dtype == at::kBFloat16 && bf16_beats_winograd());
    packed_ = ops::pack_weight(direct ? runtime.placed_for_product(weight) : runtime.placed(weight));
    if (upsamples && runtime.runs_cuda_kernels() && runtime.features.folded_upsampling && kernel_ == 3)
      folded_ = ops::pack_weight(runtime.placed(folded_upsampled_weight(weight)));
  } else {
    weight_ = runtime.placed_for_product(weight);
  }
}

/// Few channels do not pay for the transforms.
bool Conv2d::may_be_winograd(const Runtime& runtime) const {
  if (runtime.runs_cuda_kernels()) return false;  // cuDNN chooses
  if (!runtime.features.winograd || kernel_ != 3 || stride_ != 1 || pad_before_ != 1) return false;
  return in_ % 16 == 0 && out_ % 16 == 0 && std::min(in_, out_) >= 64;
}

/// Nor do few tiles for transforming the weights. Measured per layer against the direct product: from four tiles on 1.1
/// to 3.4 times as fast, with one (4 x 4 pixels) half as fast.
bool Conv2d::winograd_pays(const Runtime& runtime, std::int64_t images, std::int64_t height, std::int64_t width) const {
  if (packed_.scalar_type() != at::kFloat || !may_be_winograd(runtime)) return false;
  const std::int64_t tiles = images * ops::tiles_of(height, 4) * ops::tiles_of(width, 4);
  return height % 4 == 0 && width % 4 == 0 && tiles >= 4;
}

at::Tensor Conv2d::run(Runtime& runtime, const at::Tensor& x, const ConvUse& use, bool upsample) const {
  const std::int64_t in_height = upsample ? use.out_height : x.size(2), in_width = upsample ? use.out_width : x.size(3);
  const std::int64_t pad = pad_before_ + pad_after_;
  const std::int64_t height = (in_height + pad - kernel_) / stride_ + 1,
                     width = (in_width + pad - kernel_) / stride_ + 1;
  const bool in_bytes = int8_ != nullptr && int8_->on;
  if (in_bytes || packed_.defined()) {
    const at::Tensor input = for_operator(x);
    at::Tensor out = runtime.buffers.image(x.size(0), out_, height, width);
    const at::Tensor& bias = use.bias_rows.defined() ? use.bias_rows : bias_;
    const bool enlarged_twofold = height == 2 * x.size(2) && width == 2 * x.size(3);
    if (int8_ != nullptr) {
      int8_->operations += 2.0 * static_cast<double>(out.numel() * in_ * kernel_ * kernel_);
    }
    if (in_bytes && int8_weight_.dim() == 4) {
      at::Tensor enlarged = input;
      if (upsample && !enlarged_twofold) enlarged = for_operator(at::upsample_nearest2d(input, {height, width}));
      ops::conv2d_winograd_int8(enlarged, int8_weight_, bias, for_operator(use.residual), upsample && enlarged_twofold,
                                out);
    } else if (in_bytes) {
      ops::conv2d_int8(input, int8_weight_, bias, for_operator(use.residual), kernel_, stride_, pad_before_, upsample,
                       out);
    } else if ((!upsample || enlarged_twofold) && winograd_pays(runtime, x.size(0), height, width)) {
      ops::conv2d_winograd(input, packed_, bias, for_operator(use.residual), upsample, out);
    } else {
      const at::Tensor& weight = upsample && folded_.defined() ? folded_ : packed_;
      ops::conv2d(input, weight, bias, for_operator(use.residual), kernel_, stride_, pad_before_, upsample, out);
    }
    return settled(runtime, out);
  }
  at::Tensor input = x;
  if (pad_before_ != pad_after_) input = at::constant_pad_nd(input, {pad_before_, pad_after_, pad_before_, pad_after_});
  const std::int64_t both = pad_before_ == pad_after_ ? pad_before_ : 0;
  at::Tensor out;
  if (weight_.scalar_type() != input.scalar_type()) {
    out = at::conv2d(input.to(weight_.scalar_type()), weight_, {}, stride_, both).to(input.scalar_type()) +
          bias_.view({-1, 1, 1});
  } else {
    out = at::conv2d(input, weight_, bias_, stride_, both);
  }
  if (use.bias_rows.defined()) {
    const at::Tensor extra = (use.bias_rows - bias_).repeat_interleave(out.size(0) / use.bias_rows.size(0), 0);
    out = out + extra.unsqueeze(-1).unsqueeze(-1);
  }
  if (use.residual.has_value()) out = out + *use.residual;
  return settled(runtime, out);
}

at::Tensor Conv2d::operator()(Runtime& runtime, const at::Tensor& x, const ConvUse& use) const {
  return run(runtime, x, use, false);
}

at::Tensor Conv2d::upsampled(Runtime& runtime, const at::Tensor& x, std::int64_t out_height,
                             std::int64_t out_width) const {
  ConvUse use;
  use.out_height = out_height;
  use.out_width = out_width;
  const bool twofold = out_height == 2 * x.size(2) && out_width == 2 * x.size(3);
  const bool folds =
      runtime.runs_cuda_kernels() ? folded_.defined() && twofold : packed_.defined() || int8_weight_.defined();
  if (runtime.features.folded_upsampling && folds) return run(runtime, x, use, true);
  return run(runtime, at::upsample_nearest2d(x, {out_height, out_width}), {}, false);
}

GroupNorm::GroupNorm(const WeightReader& reader, std::int64_t groups, double eps, bool silu)
    : weight_(reader.get("weight")), bias_(reader.get("bias")), groups_(groups), eps_(eps), silu_(silu) {}

at::Tensor GroupNorm::operator()(Runtime& runtime, const at::Tensor& x) const {
  if (runtime.features.fused_group_norm) {
    const at::Tensor input = for_operator(x);
    at::Tensor out = runtime.buffers.like(input, input.size(1));
    ops::group_norm_silu(input, weight_, bias_, groups_, eps_, silu_, out);
    return settled(runtime, out);
  }
  const at::ScalarType type = x.scalar_type();
  const at::Tensor out = at::group_norm(x, groups_, weight_.to(type), bias_.to(type), eps_);
  return settled(runtime, silu_ ? at::silu(out) : out);
}

LayerNorm::LayerNorm(const WeightReader& reader, double eps)
    : weight_(reader.get("weight")), bias_(reader.get("bias")), eps_(eps) {}

at::Tensor LayerNorm::operator()(Runtime& runtime, const at::Tensor& x) const {
  const std::int64_t width = weight_.size(0);
  if (runtime.features.fused_layer_norm) {
    const at::Tensor input = for_operator(x);
    at::Tensor out = runtime.buffers.like(input, width);
    ops::layer_norm(input, weight_, bias_, eps_, out);
    return settled(runtime, out);
  }
  const at::ScalarType type = x.scalar_type();
  const at::Tensor out = at::layer_norm(as_tokens(x), {width}, weight_.to(type), bias_.to(type), eps_);
  return settled(runtime, as_form_of(out, x));
}

Int8Layers::Layer* enter_attention(const Runtime& runtime, const std::string& name, std::int64_t width) {
  return runtime.features.fused_attention ? int8_entry(runtime, name, width, width) : nullptr;
}

at::Tensor self_attention(Runtime& runtime, const at::Tensor& qkv, std::int64_t heads, bool causal,
                          Int8Layers::Layer* int8) {
  if (runtime.features.fused_attention) {
    const at::Tensor input = for_operator(qkv);
    const std::int64_t width = input.size(input.dim() == 4 ? 1 : 2) / 3;
    at::Tensor out = runtime.buffers.like(input, width);
    if (int8 != nullptr) {
      const std::int64_t rows = input.numel() / (3 * width), tokens = rows / input.size(0);
      int8->operations += 4.0 * static_cast<double>(rows * tokens * width);
    }
    if (int8 != nullptr && int8->on) {
      ops::self_attention_int8(input, heads, out);
    } else if (runtime.rounds_products() && !causal) {
      ops::self_attention_bf16(input, heads, out);
    } else {
      ops::self_attention(input, heads, causal, out);
    }
    return settled(runtime, out);
  }
  const auto parts = as_tokens(qkv).chunk(3, -1);
  return settled(runtime, as_form_of(plain_attention(parts[0], parts[1], parts[2], heads, causal), qkv));
}

KeyValue make_key_value(const Runtime& runtime, const at::Tensor& key_value, std::int64_t heads) {
  if (!runtime.features.fused_attention) return {key_value, key_value.size(1)};
  return {ops::pack_key_value(key_value.to(runtime.dtype), heads), key_value.size(1)};
}

at::Tensor cross_attention(Runtime& runtime, const at::Tensor& query, const KeyValue& key_value, std::int64_t heads) {
  if (runtime.features.fused_attention) {
    const at::Tensor input = for_operator(query);
    at::Tensor out = runtime.buffers.like(input, input.size(input.dim() == 4 ? 1 : 2));
    ops::cross_attention(input, key_value.tensor, key_value.keys, heads, out);
    return settled(runtime, out);
  }
  const at::Tensor tokens = as_tokens(query);
  const auto parts = key_value.tensor.repeat_interleave(tokens.size(0) / key_value.tensor.size(0), 0).chunk(2, -1);
  return settled(runtime, as_form_of(plain_attention(tokens, parts[0], parts[1], heads, false), query));
}

at::Tensor concat_channels(Runtime& runtime, const at::Tensor& a, const at::Tensor& b) {
  if (!runtime.features.channels_last) return at::cat({a, b}, 1);
  at::Tensor out = runtime.buffers.image(a.size(0), a.size(1) + b.size(1), a.size(2), a.size(3));
  ops::concat_channels(a, b, out);
  return out;
}

}  // namespace i2i
