#include "optimized/vae.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "interface/stage_clock.h"

namespace i2i {
namespace {
constexpr double kNormEps = 1e-6;  // every GroupNorm of the VAE (semantics.md section 3)
}

OptimizedVae::Resnet OptimizedVae::make_resnet(const WeightReader& reader) const {
  Resnet resnet;
  resnet.norm1 = GroupNorm(reader / "norm1", config_.norm_num_groups, kNormEps, true);
  resnet.norm2 = GroupNorm(reader / "norm2", config_.norm_num_groups, kNormEps, true);
  resnet.conv1 = Conv2d(*runtime_, reader / "conv1");
  resnet.conv2 = Conv2d(*runtime_, reader / "conv2");
  if (reader.has("conv_shortcut.weight")) resnet.shortcut = Conv2d(*runtime_, reader / "conv_shortcut");
  return resnet;
}

OptimizedVae::Half OptimizedVae::make_half(const WeightReader& reader, const char* blocks, std::int64_t resnets,
                                           bool down) const {
  Half half;
  half.conv_in = Conv2d(*runtime_, reader / "conv_in");
  half.conv_out = Conv2d(down ? *exact_ : *runtime_, reader / "conv_out");
  half.norm_out = GroupNorm(reader / "conv_norm_out", config_.norm_num_groups, kNormEps, true);
  const std::size_t levels = config_.block_out_channels.size();
  for (std::size_t i = 0; i < levels; ++i) {
    const WeightReader from = reader / fmt::format("{}.{}", blocks, i);
    Level level;
    for (std::int64_t k = 0; k < resnets; ++k)
      level.resnets.push_back(make_resnet(from / fmt::format("resnets.{}", k)));
    if (i + 1 < levels) {
      // The encoder halves with zeros on the right and below only.
      level.resample = down ? Conv2d(*runtime_, from / "downsamplers.0.conv", 2, 0, 1)
                            : Conv2d(*runtime_, from / "upsamplers.0.conv", 1, 1, 1, true);
    }
    half.levels.push_back(std::move(level));
  }
  const WeightReader middle = reader / "mid_block";
  half.middle.first = make_resnet(middle / "resnets.0");
  half.middle.last = make_resnet(middle / "resnets.1");
  if (config_.mid_block_add_attention) {
    const WeightReader attention = middle / "attentions.0";
    half.middle.norm = GroupNorm(attention / "group_norm", config_.norm_num_groups, kNormEps, false);
    half.middle.qkv = Linear(
        *runtime_, at::cat({attention.get("to_q.weight"), attention.get("to_k.weight"), attention.get("to_v.weight")}),
        at::cat({attention.get("to_q.bias"), attention.get("to_k.bias"), attention.get("to_v.bias")}), ops::kNone,
        (attention / "to_qkv").name());
    half.middle.attention =
        enter_attention(*runtime_, (attention / "attention").name(), half.middle.qkv.out_features() / 3);
    half.middle.out = Linear(*runtime_, attention / "to_out.0");
  }
  return half;
}

OptimizedVae::OptimizedVae(Runtime& runtime, Runtime& exact, const VaeConfig& config, const Weights& weights)
    : runtime_(&runtime), exact_(&exact), config_(config) {
  const WeightReader reader(weights, "", runtime.device);
  encoder_ = make_half(reader / "encoder", "down_blocks", config.layers_per_block, true);
  decoder_ = make_half(reader / "decoder", "up_blocks", config.layers_per_block + 1, false);
  if (config.use_quant_conv) quant_conv_ = Conv2d(exact, reader / "quant_conv");
  if (config.use_post_quant_conv) post_quant_conv_ = Conv2d(runtime, reader / "post_quant_conv");
  reader.release();
}

at::Tensor OptimizedVae::run(const Resnet& resnet, const at::Tensor& x) const {
  const at::Tensor hidden = resnet.norm2(*runtime_, resnet.conv1(*runtime_, resnet.norm1(*runtime_, x)));
  ConvUse use;
  use.residual = resnet.shortcut.defined() ? resnet.shortcut(*runtime_, x) : x;
  return resnet.conv2(*runtime_, hidden, use);
}

at::Tensor OptimizedVae::run(const Middle& middle, const at::Tensor& x) const {
  const BlockRange range("mid_block");
  at::Tensor hidden = run(middle.first, x);
  if (middle.qkv.defined()) {
    const at::Tensor attended =
        self_attention(*runtime_, middle.qkv(*runtime_, middle.norm(*runtime_, hidden)), 1, false, middle.attention);
    hidden = middle.out(*runtime_, attended, hidden);
  }
  return run(middle.last, hidden);
}

at::Tensor OptimizedVae::encode(const at::Tensor& pixels) const {
  at::Tensor hidden = encoder_.conv_in(*runtime_, pixels);
  for (std::size_t k = 0; k < encoder_.levels.size(); ++k) {
    const Level& level = encoder_.levels[k];
    const BlockRange range("down_blocks", k);
    for (const Resnet& resnet : level.resnets) hidden = run(resnet, hidden);
    if (level.resample.defined()) hidden = level.resample(*runtime_, hidden);
  }
  hidden = encoder_.norm_out(*runtime_, run(encoder_.middle, hidden));
  hidden = encoder_.conv_out(*exact_, hidden.to(exact_->activation));
  return quant_conv_.defined() ? quant_conv_(*exact_, hidden) : hidden;
}

at::Tensor OptimizedVae::decode(const at::Tensor& latents) const {
  at::Tensor hidden = post_quant_conv_.defined() ? post_quant_conv_(*runtime_, latents) : latents;
  hidden = run(decoder_.middle, decoder_.conv_in(*runtime_, hidden));
  for (std::size_t k = 0; k < decoder_.levels.size(); ++k) {
    const Level& level = decoder_.levels[k];
    const BlockRange range("up_blocks", k);
    for (const Resnet& resnet : level.resnets) hidden = run(resnet, hidden);
    if (level.resample.defined())
      hidden = level.resample.upsampled(*runtime_, hidden, 2 * hidden.size(2), 2 * hidden.size(3));
  }
  return decoder_.conv_out(*runtime_, decoder_.norm_out(*runtime_, hidden));
}

}  // namespace i2i
