#include <algorithm>

#include "interface/stage_clock.h"
#include "reference/modules.h"

namespace i2i::reference {
namespace {

std::int64_t temb_channels(const UNetConfig& config) { return 4 * config.block_out_channels.front(); }

/// True for the kind of block with transformers, false for the plain kind.
bool has_cross_attention(const std::string& type, const std::string& way) {
  if (type == "CrossAttn" + way + "2D") return true;
  if (type == way + "2D") return false;
  throw Error(ErrorCode::kGenerationFailed,
              fmt::format("unet: block type {} is neither CrossAttn{}2D nor {}2D", type, way, way));
}

}  // namespace

DownBlock2D::DownBlock2D(const UNetConfig& config, std::size_t level) : resnets(child<List<ResnetBlock2D>>("resnets")) {
  const auto& channels = config.block_out_channels;
  const auto out = channels[level];
  const bool attends = has_cross_attention(config.down_block_types[level], "DownBlock");
  if (attends) attentions = child<List<Transformer2D>>("attentions");
  for (std::int64_t i = 0; i < config.layers_per_block[level]; ++i) {
    const auto in = i > 0 ? out : channels[level > 0 ? level - 1 : 0];
    resnets->append(in, out, temb_channels(config), config.norm_num_groups, config.norm_eps);
    if (attends) {
      attentions->append(out, config.num_attention_heads[level], config.transformer_layers_per_block[level], config);
    }
  }
  if (level + 1 < channels.size()) {
    downsamplers = child<List<Downsample2D>>("downsamplers");
    downsamplers->append(out, /*pad_right_and_bottom_only=*/false);
  }
}

at::Tensor DownBlock2D::forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& encoder_hidden_states,
                                std::vector<at::Tensor>& skips) const {
  for (std::size_t i = 0; i < resnets->size(); ++i) {
    x = (*resnets)[i].forward(x, temb);
    if (attentions) x = (*attentions)[i].forward(x, encoder_hidden_states);
    skips.push_back(x);
  }
  if (downsamplers) {
    x = (*downsamplers)[0].forward(x);
    skips.push_back(x);
  }
  return x;
}

UNetMidBlock2D::UNetMidBlock2D(const UNetConfig& config)
    : attentions(child<List<Transformer2D>>("attentions")), resnets(child<List<ResnetBlock2D>>("resnets")) {
  const auto channels = config.block_out_channels.back();
  for (int i = 0; i < 2; ++i) {
    resnets->append(channels, channels, temb_channels(config), config.norm_num_groups, config.norm_eps);
  }
  attentions->append(channels, config.num_attention_heads.back(), config.transformer_layers_per_block.back(), config);
}

at::Tensor UNetMidBlock2D::forward(at::Tensor x, const at::Tensor& temb,
                                   const at::Tensor& encoder_hidden_states) const {
  x = (*resnets)[0].forward(x, temb);
  x = (*attentions)[0].forward(x, encoder_hidden_states);
  return (*resnets)[1].forward(x, temb);
}

UpBlock2D::UpBlock2D(const UNetConfig& config, std::size_t level) : resnets(child<List<ResnetBlock2D>>("resnets")) {
  // Levels of the way up run from the bottom: the per-level lists are read backwards.
  const auto& channels = config.block_out_channels;
  const auto mirrored = channels.size() - 1 - level;
  const auto out = channels[mirrored];
  const auto below = channels[std::min(mirrored + 1, channels.size() - 1)];
  const auto above = channels[mirrored > 0 ? mirrored - 1 : 0];
  const bool attends = has_cross_attention(config.up_block_types[level], "UpBlock");
  if (attends) attentions = child<List<Transformer2D>>("attentions");
  const auto layers = config.layers_per_block[mirrored] + 1;
  for (std::int64_t i = 0; i < layers; ++i) {
    const auto in = i == 0 ? below : out;
    const auto skip = i == layers - 1 ? above : out;
    resnets->append(in + skip, out, temb_channels(config), config.norm_num_groups, config.norm_eps);
    if (attends) {
      attentions->append(out, config.num_attention_heads[mirrored], config.transformer_layers_per_block[mirrored],
                         config);
    }
  }
  if (mirrored > 0) {
    upsamplers = child<List<Upsample2D>>("upsamplers");
    upsamplers->append(out);
  }
}

at::Tensor UpBlock2D::forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& encoder_hidden_states,
                              std::vector<at::Tensor>& skips) const {
  for (std::size_t i = 0; i < resnets->size(); ++i) {
    x = (*resnets)[i].forward(at::cat({x, skips.back()}, 1), temb);
    skips.pop_back();
    if (attentions) x = (*attentions)[i].forward(x, encoder_hidden_states);
  }
  // The size of the next skip is twice this one's, or one less where halving rounded up.
  if (upsamplers) x = (*upsamplers)[0].forward(x, skips.back().sizes().slice(2).vec());
  return x;
}

UNet2DCondition::UNet2DCondition(const UNetConfig& config)
    : config_(config),
      conv_in(child<Conv2d>("conv_in", config.in_channels, config.block_out_channels.front(), 3, 1, 1)),
      conv_out(child<Conv2d>("conv_out", config.block_out_channels.front(), config.out_channels, 3, 1, 1)),
      time_embedding(child<TimestepEmbedding>("time_embedding", config.block_out_channels.front(),
                                              temb_channels(config), config.time_cond_proj_dim)),
      down_blocks(child<List<DownBlock2D>>("down_blocks")),
      mid_block(child<UNetMidBlock2D>("mid_block", config)),
      up_blocks(child<List<UpBlock2D>>("up_blocks")),
      conv_norm_out(child<GroupNorm>("conv_norm_out", config.norm_num_groups, config.block_out_channels.front(),
                                     config.norm_eps)) {
  if (config.text_time_conditioning) {
    add_embedding =
        child<TimestepEmbedding>("add_embedding", config.projection_class_embeddings_input_dim, temb_channels(config));
  }
  for (std::size_t level = 0; level < config.block_out_channels.size(); ++level) {
    down_blocks->append(config, level);
    up_blocks->append(config, level);
  }
}

at::Tensor UNet2DCondition::forward(const at::Tensor& sample, double timestep, const at::Tensor& encoder_hidden_states,
                                    const at::Tensor& text_embeds, const at::Tensor& time_ids,
                                    const at::Tensor& timestep_cond) const {
  const auto batch = sample.size(0);
  // Sinusoids need 10 bits and more before the point: float32 where the model itself is in half precision.
  const auto sinusoid_options = sample.options().dtype(sample.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);

  // 1. The timestep, and for SDXL the pooled text with the picture's sizes.
  auto temb = time_embedding->forward(
      sinusoidal_embedding(at::full({batch}, timestep, sinusoid_options), config_.block_out_channels.front(),
                           config_.flip_sin_to_cos, config_.freq_shift)
          .to(sample.scalar_type()),
      timestep_cond);
  if (add_embedding) {
    const auto sizes = sinusoidal_embedding(time_ids.to(sinusoid_options).flatten(), config_.addition_time_embed_dim,
                                            config_.flip_sin_to_cos, config_.freq_shift)
                           .view({batch, -1});
    temb = temb + add_embedding->forward(at::cat({text_embeds, sizes.to(text_embeds.scalar_type())}, 1));
  }

  // 2. Down, through the middle, and up again with the skips.
  auto x = conv_in->forward(sample);
  std::vector<at::Tensor> skips = {x};
  for (std::size_t i = 0; i < down_blocks->size(); ++i) {
    const BlockRange range("down_blocks", i);
    x = (*down_blocks)[i].forward(x, temb, encoder_hidden_states, skips);
  }
  {
    const BlockRange range("mid_block");
    x = mid_block->forward(x, temb, encoder_hidden_states);
  }
  for (std::size_t i = 0; i < up_blocks->size(); ++i) {
    const BlockRange range("up_blocks", i);
    x = (*up_blocks)[i].forward(x, temb, encoder_hidden_states, skips);
  }

  // 3. Out.
  return conv_out->forward(at::silu(conv_norm_out->forward(x)));
}

}  // namespace i2i::reference
