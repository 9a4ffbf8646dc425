#include "optimized/unet.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "interface/stage_clock.h"

namespace i2i {
namespace {

constexpr double kTransformerNormEps = 1e-6;  // GroupNorm in front of a transformer (semantics.md section 9)
constexpr double kLayerNormEps = 1e-5;

bool attends(const std::string& block_type) { return block_type.rfind("CrossAttn", 0) == 0; }

/// Sinusoidal embedding (Vaswani et al. 2017): [n] -> [n, channels]; frequencies in double, as semantics.md section 9
/// has them.
at::Tensor sinusoids(const at::Tensor& values, std::int64_t channels, bool cosine_first, double freq_shift) {
  const std::int64_t half = channels / 2;
  const at::Tensor index = at::arange(half, values.options().dtype(at::kFloat));
  const at::Tensor frequencies = at::exp(index * (-std::log(10000.0)) / (static_cast<double>(half) - freq_shift));
  const at::Tensor angles = values.to(at::kFloat).unsqueeze(-1) * frequencies;
  at::Tensor embedding =
      cosine_first ? at::cat({angles.cos(), angles.sin()}, -1) : at::cat({angles.sin(), angles.cos()}, -1);
  if (channels % 2 == 1) embedding = at::constant_pad_nd(embedding, {0, 1});
  return embedding;
}

/// An image batch `times` times over.
at::Tensor repeated(Runtime& runtime, const at::Tensor& x, std::int64_t times) {
  const std::int64_t images = x.size(0);
  at::Tensor out =
      runtime.buffers.image(times * images, x.size(1), x.size(2), x.size(3), runtime.features.channels_last);
  for (std::int64_t i = 0; i < times; ++i) out.narrow(0, i * images, images).copy_(x);
  return out;
}

}  // namespace

OptimizedUNet::Resnet OptimizedUNet::make_resnet(const WeightReader& reader) {
  Resnet resnet;
  resnet.norm1 = GroupNorm(reader / "norm1", config_.norm_num_groups, config_.norm_eps, true);
  resnet.norm2 = GroupNorm(reader / "norm2", config_.norm_num_groups, config_.norm_eps, true);
  resnet.conv1 = Conv2d(*runtime_, reader / "conv1");
  resnet.conv2 = Conv2d(*runtime_, reader / "conv2");
  if (reader.has("conv_shortcut.weight")) resnet.shortcut = Conv2d(*runtime_, reader / "conv_shortcut");
  resnet.index = projection_weights_.size();
  projection_weights_.push_back(reader.get("time_emb_proj.weight"));
  // The projection is added to conv1's output of every pixel, like its bias: one sum serves for both.
  projection_biases_.push_back(reader.get("time_emb_proj.bias") + reader.get("conv1.bias"));
  projection_sizes_.push_back(projection_weights_.back().size(0));
  reader.release();
  return resnet;
}

OptimizedUNet::Transformer OptimizedUNet::make_transformer(const WeightReader& reader, std::int64_t heads,
                                                           std::int64_t layers) {
  Runtime& runtime = *runtime_;
  Transformer transformer;
  transformer.heads = heads;
  transformer.norm = GroupNorm(reader / "norm", config_.norm_num_groups, kTransformerNormEps, false);
  transformer.proj_in = Linear(runtime, reader / "proj_in");  // a 1 x 1 convolution is the same product
  transformer.proj_out = Linear(runtime, reader / "proj_out");
  for (std::int64_t i = 0; i < layers; ++i) {
    const WeightReader from = reader / fmt::format("transformer_blocks.{}", i);
    TransformerBlock block;
    block.norm1 = LayerNorm(from / "norm1", kLayerNormEps);
    block.norm2 = LayerNorm(from / "norm2", kLayerNormEps);
    block.norm3 = LayerNorm(from / "norm3", kLayerNormEps);
    const WeightReader own = from / "attn1", cross = from / "attn2";
    block.qkv = Linear(runtime, at::cat({own.get("to_q.weight"), own.get("to_k.weight"), own.get("to_v.weight")}), {},
                       ops::kNone, (own / "to_qkv").name());
    block.attention = enter_attention(runtime, (own / "attention").name(), block.qkv.out_features() / 3);
    block.out1 = Linear(runtime, own / "to_out.0");
    block.query = Linear(runtime, cross / "to_q");
    block.key_value = Linear(runtime, at::cat({cross.get("to_k.weight"), cross.get("to_v.weight")}), {});
    block.out2 = Linear(runtime, cross / "to_out.0");
    block.feed_forward1 = Linear(runtime, from / "ff.net.0.proj", ops::kGeglu);
    block.feed_forward2 = Linear(runtime, from / "ff.net.2");
    transformer.blocks.push_back(std::move(block));
    from.release();
  }
  return transformer;
}

OptimizedUNet::OptimizedUNet(Runtime& runtime, Runtime& once, const UNetConfig& config, const Weights& weights)
    : runtime_(&runtime), once_(&once), config_(config) {
  const WeightReader reader(weights, "", runtime.device);
  const std::size_t levels = config.block_out_channels.size();
  conv_in_ = Conv2d(runtime, reader / "conv_in");
  time_linear1_ = Linear(once, reader / "time_embedding.linear_1", ops::kSilu);
  time_linear2_ = Linear(once, reader / "time_embedding.linear_2");
  if (config.time_cond_proj_dim > 0) time_cond_proj_ = Linear(once, reader / "time_embedding.cond_proj");
  if (config.text_time_conditioning) {
    add_linear1_ = Linear(once, reader / "add_embedding.linear_1", ops::kSilu);
    add_linear2_ = Linear(once, reader / "add_embedding.linear_2");
  }
  const auto make_level = [&](const WeightReader& from, std::size_t level, std::int64_t resnets, bool with_attention) {
    Level made;
    for (std::int64_t i = 0; i < resnets; ++i) {
      made.resnets.push_back(make_resnet(from / fmt::format("resnets.{}", i)));
      if (with_attention) {
        made.transformers.push_back(make_transformer(from / fmt::format("attentions.{}", i),
                                                     config.num_attention_heads[level],
                                                     config.transformer_layers_per_block[level]));
      }
    }
    return made;
  };
  for (std::size_t i = 0; i < levels; ++i) {
    const WeightReader from = reader / fmt::format("down_blocks.{}", i);
    down_.push_back(make_level(from, i, config.layers_per_block[i], attends(config.down_block_types[i])));
    if (i + 1 < levels) down_.back().resample = Conv2d(runtime, from / "downsamplers.0.conv", 2);
  }
  const WeightReader middle = reader / "mid_block";
  middle_first_ = make_resnet(middle / "resnets.0");
  middle_ = make_transformer(middle / "attentions.0", config.num_attention_heads.back(),
                             config.transformer_layers_per_block.back());
  middle_last_ = make_resnet(middle / "resnets.1");
  for (std::size_t i = 0; i < levels; ++i) {
    const WeightReader from = reader / fmt::format("up_blocks.{}", i);
    const std::size_t level = levels - 1 - i;  // per-block lists are written for the way down
    up_.push_back(make_level(from, level, config.layers_per_block[level] + 1, attends(config.up_block_types[i])));
    if (i + 1 < levels) up_.back().resample = Conv2d(runtime, from / "upsamplers.0.conv", 1, 1, 1, true);
  }
  norm_out_ = GroupNorm(reader / "conv_norm_out", config.norm_num_groups, config.norm_eps, true);
  conv_out_ = Conv2d(once, reader / "conv_out");
  time_projections_ = Linear(once, at::cat(projection_weights_), at::cat(projection_biases_));
  projection_weights_.clear();
  projection_biases_.clear();

  const auto number = [&](Transformer& transformer) {
    for (TransformerBlock& block : transformer.blocks) {
      block.index = blocks_in_order_.size();
      blocks_in_order_.push_back(&block);
    }
  };
  for (Level& level : down_) {
    for (Transformer& transformer : level.transformers) number(transformer);
  }
  number(middle_);
  for (Level& level : up_) {
    for (Transformer& transformer : level.transformers) number(transformer);
  }
  reader.release();
}

TextKeyValues OptimizedUNet::prepare_text(const at::Tensor& encoder_hidden_states) const {
  TextKeyValues all;
  std::vector<std::int64_t> heads;
  const auto gather = [&](const Transformer& transformer) {
    heads.insert(heads.end(), transformer.blocks.size(), transformer.heads);
  };
  for (const Level& level : down_) {
    for (const Transformer& transformer : level.transformers) gather(transformer);
  }
  gather(middle_);
  for (const Level& level : up_) {
    for (const Transformer& transformer : level.transformers) gather(transformer);
  }
  const at::Tensor states = encoder_hidden_states.to(runtime_->activation);
  for (std::size_t i = 0; i < blocks_in_order_.size(); ++i)
    all.push_back(make_key_value(*runtime_, blocks_in_order_[i]->key_value(*runtime_, states), heads[i]));
  return all;
}

TimeBiases biases_of(const TimeTable& table, std::size_t step) {
  TimeBiases biases;
  biases.reserve(table.size());
  for (const at::Tensor& resnet : table) biases.push_back(resnet.select(0, static_cast<std::int64_t>(step)));
  return biases;
}

TimeTable OptimizedUNet::prepare_time(const std::vector<double>& timesteps, const at::Tensor& pooled,
                                      const at::Tensor& time_ids, double guidance_scale) const {
  Runtime& runtime = *once_;
  const at::Tensor values = runtime.uploaded(at::tensor(timesteps, at::kDouble));
  // As [1,L,C], the form of tokens.
  at::Tensor embedding =
      sinusoids(values, config_.block_out_channels.front(), config_.flip_sin_to_cos, config_.freq_shift).unsqueeze(0);
  if (time_cond_proj_.defined()) {
    const at::Tensor w = at::full({1}, 1000 * (guidance_scale - 1), embedding.options());
    embedding = embedding + time_cond_proj_(runtime, sinusoids(w, config_.time_cond_proj_dim, false, 1).unsqueeze(0));
  }
  embedding = time_linear2_(runtime, time_linear1_(runtime, embedding));  // [1,L,4C]
  std::int64_t sets = 1;
  if (config_.text_time_conditioning) {
    sets = pooled.size(0);
    const at::Tensor ids = sinusoids(runtime.uploaded(time_ids).flatten(), config_.addition_time_embed_dim,
                                     config_.flip_sin_to_cos, config_.freq_shift);
    const at::Tensor condition = at::cat({pooled, ids.view({sets, -1})}, -1).unsqueeze(1);  // [S,1,P+6D]
    embedding = embedding.transpose(0, 1) +
                add_linear2_(runtime, add_linear1_(runtime, condition)).transpose(0, 1);  // [L,S,4C]
  } else {
    embedding = embedding.transpose(0, 1);
  }
  const at::Tensor biases = time_projections_(runtime, at::silu(embedding).contiguous());  // [L,S,sum of O]
  TimeTable table = biases.split_with_sizes(projection_sizes_, -1);
  for (at::Tensor& resnet : table) resnet = resnet.to(runtime_->activation).contiguous();
  return table;
}

at::Tensor OptimizedUNet::run(const Resnet& resnet, const at::Tensor& x, const TimeBiases& time) const {
  Runtime& runtime = *runtime_;
  ConvUse first, second;
  first.bias_rows = time[resnet.index];
  at::Tensor hidden = resnet.conv1(runtime, resnet.norm1(runtime, x), first);
  hidden = resnet.norm2(runtime, hidden);
  second.residual = resnet.shortcut.defined() ? resnet.shortcut(runtime, x) : x;
  return resnet.conv2(runtime, hidden, second);
}

/// @param copies  how many conditions each image of x stands for; the result has one image for each
at::Tensor OptimizedUNet::run(const Transformer& transformer, const at::Tensor& x, const TextKeyValues& text,
                              std::int64_t copies) const {
  Runtime& runtime = *runtime_;
  at::Tensor hidden = transformer.proj_in(runtime, transformer.norm(runtime, x)), residual = x;
  for (const TransformerBlock& block : transformer.blocks) {
    const at::Tensor own = self_attention(runtime, block.qkv(runtime, block.norm1(runtime, hidden)), transformer.heads,
                                          false, block.attention);
    hidden = block.out1(runtime, own, hidden);
    at::Tensor query = block.query(runtime, block.norm2(runtime, hidden));
    if (copies > 1) {
      for (at::Tensor* shared : {&query, &hidden, &residual}) *shared = repeated(runtime, *shared, copies);
      copies = 1;
    }
    hidden = block.out2(runtime, cross_attention(runtime, query, text[block.index], transformer.heads), hidden);
    hidden = block.feed_forward2(runtime, block.feed_forward1(runtime, block.norm3(runtime, hidden)), hidden);
  }
  return transformer.proj_out(runtime, hidden, residual);
}

/// Appends one skip a resnet and downsampler until there are `wanted`. @return the last one
/// @param copies  1 from the first cross-attention on
at::Tensor OptimizedUNet::go_down(at::Tensor hidden, const TextKeyValues& text, const TimeBiases& time,
                                  std::size_t wanted, std::int64_t& copies, std::vector<at::Tensor>& skips) const {
  for (std::size_t k = 0; k < down_.size(); ++k) {
    const Level& level = down_[k];
    const BlockRange range("down_blocks", k);
    for (std::size_t i = 0; i < level.resnets.size(); ++i) {
      if (skips.size() == wanted) return hidden;
      hidden = run(level.resnets[i], hidden, time);
      if (!level.transformers.empty()) {
        hidden = run(level.transformers[i], hidden, text, copies);
        copies = 1;
      }
      skips.push_back(hidden);
    }
    if (level.resample.defined()) {
      if (skips.size() == wanted) return hidden;
      hidden = level.resample(*runtime_, hidden);
      skips.push_back(hidden);
    }
  }
  return hidden;
}

std::size_t OptimizedUNet::resnets_up() const {
  std::size_t count = 0;
  for (const Level& level : up_) count += level.resnets.size();
  return count;
}

at::Tensor OptimizedUNet::operator()(const at::Tensor& sample, const TextKeyValues& text, const TimeBiases& time,
                                     DeepFeatures* deep, std::int64_t copies) const {
  Runtime& runtime = *runtime_;
  const std::size_t depth = deep != nullptr ? deep->depth : 0;
  const bool reuses = deep != nullptr && deep->hidden.defined();
  std::size_t left = resnets_up();  // each takes one skip, the last one made first
  at::Tensor hidden = conv_in_(runtime, sample);
  std::vector<at::Tensor> skips = {hidden};
  hidden = go_down(hidden, text, time, reuses ? depth : left, copies, skips);
  if (!reuses) {
    const BlockRange range("mid_block");
    hidden = run(middle_first_, hidden, time);
    hidden = run(middle_, hidden, text, copies);
    hidden = run(middle_last_, hidden, time);
  }
  for (std::size_t k = 0; k < up_.size(); ++k) {
    const Level& level = up_[k];
    const BlockRange range("up_blocks", k);
    for (std::size_t i = 0; i < level.resnets.size(); ++i, --left) {
      if (reuses && left > depth) continue;
      if (left == depth && reuses) hidden = deep->hidden;
      if (left == depth && !reuses) deep->hidden = hidden;
      at::Tensor& skip = skips.back();
      if (skip.size(0) < hidden.size(0)) skip = repeated(runtime, skip, hidden.size(0) / skip.size(0));
      hidden = concat_channels(runtime, hidden, skip);
      skips.pop_back();
      hidden = run(level.resnets[i], hidden, time);
      if (!level.transformers.empty()) hidden = run(level.transformers[i], hidden, text);
    }
    // The next skip's own size: twice as large, or one less where the way down met an odd side.
    if (level.resample.defined() && !(reuses && left >= depth))
      hidden = level.resample.upsampled(runtime, hidden, skips.back().size(2), skips.back().size(3));
  }
  // Guidance multiplies what this rounds: on a GPU four channels in fp32 cost next to nothing, and bf16 here was most
  // of the distance to the reference.
  return conv_out_(*once_, norm_out_(runtime, hidden).to(once_->activation));
}

}  // namespace i2i
