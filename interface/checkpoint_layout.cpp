// Names and shapes of the tensors in a checkpoint, derived from its config alone: what the synthetic models are filled
// from and loaded ones are checked by. Names are those of diffusers' and transformers' modules.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "interface/model_files.h"

namespace i2i {
namespace {

using Shape = std::vector<std::int64_t>;

/// Collects tensors; each method adds one layer under its module path.
class LayoutBuilder {
 public:
  void tensor(const std::string& name, Shape shape) { layout_.emplace_back(name, std::move(shape)); }

  void linear(const std::string& path, std::int64_t out, std::int64_t in, bool bias = true) {
    tensor(path + ".weight", {out, in});
    if (bias) tensor(path + ".bias", {out});
  }

  void conv(const std::string& path, std::int64_t out, std::int64_t in, std::int64_t kernel) {
    tensor(path + ".weight", {out, in, kernel, kernel});
    tensor(path + ".bias", {out});
  }

  void norm(const std::string& path, std::int64_t channels) {
    tensor(path + ".weight", {channels});
    tensor(path + ".bias", {channels});
  }

  /// temb_channels 0: a VAE's resnet, which knows no time.
  void resnet(const std::string& path, std::int64_t out, std::int64_t in, std::int64_t temb_channels) {
    norm(path + ".norm1", in);
    conv(path + ".conv1", out, in, 3);
    if (temb_channels > 0) linear(path + ".time_emb_proj", out, temb_channels);
    norm(path + ".norm2", out);
    conv(path + ".conv2", out, out, 3);
    if (in != out) conv(path + ".conv_shortcut", out, in, 1);
  }

  /// q from `channels`, k and v from `context` channels.
  void attention(const std::string& path, std::int64_t channels, std::int64_t context, bool qkv_bias) {
    linear(path + ".to_q", channels, channels, qkv_bias);
    linear(path + ".to_k", channels, context, qkv_bias);
    linear(path + ".to_v", channels, context, qkv_bias);
    linear(path + ".to_out.0", channels, channels);
  }

  void transformer(const std::string& path, std::int64_t channels, std::int64_t layers, const UNetConfig& config) {
    const auto projection = [&](const std::string& name) {
      if (config.use_linear_projection)
        linear(path + name, channels, channels);
      else
        conv(path + name, channels, channels, 1);
    };
    norm(path + ".norm", channels);
    projection(".proj_in");
    for (std::int64_t i = 0; i < layers; ++i) {
      const std::string block = fmt::format("{}.transformer_blocks.{}", path, i);
      norm(block + ".norm1", channels);
      attention(block + ".attn1", channels, channels, false);
      norm(block + ".norm2", channels);
      attention(block + ".attn2", channels, config.cross_attention_dim, false);
      norm(block + ".norm3", channels);
      linear(block + ".ff.net.0.proj", 8 * channels, channels);  // GEGLU: value and gate, 4 x channels each
      linear(block + ".ff.net.2", channels, 4 * channels);
    }
    projection(".proj_out");
  }

  /// resnet, attention, resnet: the middle of both halves of a VAE.
  void vae_middle(const std::string& path, std::int64_t channels, bool with_attention) {
    resnet(path + ".resnets.0", channels, channels, 0);
    if (with_attention) {
      norm(path + ".attentions.0.group_norm", channels);
      attention(path + ".attentions.0", channels, channels, true);
    }
    resnet(path + ".resnets.1", channels, channels, 0);
  }

  CheckpointLayout take() { return std::move(layout_); }

 private:
  CheckpointLayout layout_;
};

bool has_attention(std::string_view block_type) { return block_type.starts_with("CrossAttn"); }

void unet_down_blocks(LayoutBuilder& build, const UNetConfig& config, std::int64_t temb_channels) {
  const auto& channels = config.block_out_channels;
  for (std::size_t block = 0; block < channels.size(); ++block) {
    const std::string path = fmt::format("down_blocks.{}", block);
    for (std::int64_t i = 0; i < config.layers_per_block[block]; ++i) {
      const std::int64_t in = i > 0 || block == 0 ? channels[block] : channels[block - 1];
      build.resnet(fmt::format("{}.resnets.{}", path, i), channels[block], in, temb_channels);
      if (has_attention(config.down_block_types[block]))
        build.transformer(fmt::format("{}.attentions.{}", path, i), channels[block],
                          config.transformer_layers_per_block[block], config);
    }
    if (block + 1 < channels.size()) build.conv(path + ".downsamplers.0.conv", channels[block], channels[block], 3);
  }
}

/// Channels of the skip tensors in the order in which the down path pushes them.
Shape skip_channels(const UNetConfig& config) {
  Shape skips = {config.block_out_channels.front()};
  for (std::size_t block = 0; block < config.block_out_channels.size(); ++block) {
    const bool downsamples = block + 1 < config.block_out_channels.size();
    const std::int64_t pushed = config.layers_per_block[block] + (downsamples ? 1 : 0);
    skips.insert(skips.end(), static_cast<std::size_t>(pushed), config.block_out_channels[block]);
  }
  return skips;
}

void unet_up_blocks(LayoutBuilder& build, const UNetConfig& config, std::int64_t temb_channels) {
  const std::size_t blocks = config.block_out_channels.size();
  Shape skips = skip_channels(config);
  std::int64_t in = config.block_out_channels.back();
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t level = blocks - 1 - block;  // per-block lists are read from their end
    const std::int64_t channels = config.block_out_channels[level];
    const std::string path = fmt::format("up_blocks.{}", block);
    for (std::int64_t i = 0; i <= config.layers_per_block[level]; ++i) {
      build.resnet(fmt::format("{}.resnets.{}", path, i), channels, in + skips.back(), temb_channels);
      skips.pop_back();
      in = channels;
      if (has_attention(config.up_block_types[block]))
        build.transformer(fmt::format("{}.attentions.{}", path, i), channels,
                          config.transformer_layers_per_block[level], config);
    }
    if (block + 1 < blocks) build.conv(path + ".upsamplers.0.conv", channels, channels, 3);
  }
}

}  // namespace

CheckpointLayout text_encoder_layout(const TextEncoderConfig& config) {
  LayoutBuilder build;
  const std::int64_t width = config.hidden_size;
  build.tensor("embeddings.token_embedding.weight", {config.vocab_size, width});
  build.tensor("embeddings.position_embedding.weight", {config.max_position_embeddings, width});
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string path = fmt::format("encoder.layers.{}", i);
    for (const char* projection : {"q_proj", "k_proj", "v_proj", "out_proj"})
      build.linear(fmt::format("{}.self_attn.{}", path, projection), width, width);
    build.norm(path + ".layer_norm1", width);
    build.linear(path + ".mlp.fc1", config.intermediate_size, width);
    build.linear(path + ".mlp.fc2", width, config.intermediate_size);
    build.norm(path + ".layer_norm2", width);
  }
  build.norm("final_layer_norm", width);
  if (config.with_projection) build.linear("text_projection", config.projection_dim, width, false);
  return build.take();
}

CheckpointLayout unet_layout(const UNetConfig& config) {
  LayoutBuilder build;
  const auto& channels = config.block_out_channels;
  const std::int64_t temb_channels = 4 * channels.front();
  build.conv("conv_in", channels.front(), config.in_channels, 3);
  build.linear("time_embedding.linear_1", temb_channels, channels.front());
  if (config.time_cond_proj_dim > 0)
    build.linear("time_embedding.cond_proj", channels.front(), config.time_cond_proj_dim, false);
  build.linear("time_embedding.linear_2", temb_channels, temb_channels);
  if (config.text_time_conditioning) {
    build.linear("add_embedding.linear_1", temb_channels, config.projection_class_embeddings_input_dim);
    build.linear("add_embedding.linear_2", temb_channels, temb_channels);
  }
  unet_down_blocks(build, config, temb_channels);
  build.resnet("mid_block.resnets.0", channels.back(), channels.back(), temb_channels);
  build.transformer("mid_block.attentions.0", channels.back(), config.transformer_layers_per_block.back(), config);
  build.resnet("mid_block.resnets.1", channels.back(), channels.back(), temb_channels);
  unet_up_blocks(build, config, temb_channels);
  build.norm("conv_norm_out", channels.front());
  build.conv("conv_out", config.out_channels, channels.front(), 3);
  return build.take();
}

CheckpointLayout vae_layout(const VaeConfig& config) {
  LayoutBuilder build;
  const auto& channels = config.block_out_channels;
  const std::size_t blocks = channels.size();
  const std::int64_t moments = 2 * config.latent_channels;  // mean and log variance

  build.conv("encoder.conv_in", channels.front(), config.in_channels, 3);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::string path = fmt::format("encoder.down_blocks.{}", block);
    for (std::int64_t i = 0; i < config.layers_per_block; ++i) {
      const std::int64_t in = i > 0 || block == 0 ? channels[block] : channels[block - 1];
      build.resnet(fmt::format("{}.resnets.{}", path, i), channels[block], in, 0);
    }
    if (block + 1 < blocks) build.conv(path + ".downsamplers.0.conv", channels[block], channels[block], 3);
  }
  build.vae_middle("encoder.mid_block", channels.back(), config.mid_block_add_attention);
  build.norm("encoder.conv_norm_out", channels.back());
  build.conv("encoder.conv_out", moments, channels.back(), 3);

  build.conv("decoder.conv_in", channels.back(), config.latent_channels, 3);
  build.vae_middle("decoder.mid_block", channels.back(), config.mid_block_add_attention);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::string path = fmt::format("decoder.up_blocks.{}", block);
    const std::int64_t out = channels[blocks - 1 - block];
    for (std::int64_t i = 0; i <= config.layers_per_block; ++i) {
      const std::int64_t in = i > 0 || block == 0 ? out : channels[blocks - block];
      build.resnet(fmt::format("{}.resnets.{}", path, i), out, in, 0);
    }
    if (block + 1 < blocks) build.conv(path + ".upsamplers.0.conv", out, out, 3);
  }
  build.norm("decoder.conv_norm_out", channels.front());
  build.conv("decoder.conv_out", config.out_channels, channels.front(), 3);

  if (config.use_quant_conv) build.conv("quant_conv", moments, moments, 1);
  if (config.use_post_quant_conv) build.conv("post_quant_conv", config.latent_channels, config.latent_channels, 1);
  return build.take();
}

}  // namespace i2i
