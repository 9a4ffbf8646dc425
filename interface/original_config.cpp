#include "interface/original_config.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/published_schedulers.h"

namespace i2i {
namespace {

using Json = nlohmann::json;
using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t kHeadSize = 64;          // of every published CLIP, of SD 2 and of SDXL
constexpr std::int64_t kSd2ContextSize = 1024;  // OpenCLIP ViT-H's width, by which diffusers, too, tells SD 2

/// Parses what was inferred by the same rules as a config.json. The sizes may be no published ones: then only a config
/// can say the rest.
template <typename Parse>
auto parsed(const OriginalFile& file, const Json& config, const Parse& parse) {
  try {
    return parse(config);
  } catch (const Error& error) {
    throw_broken_file(
        file.path(),
        fmt::format("{} (as its tensors tell; --model-config gives a config in place of that)", error.what()));
  }
}

std::int64_t heads_of(const OriginalFile& file, const std::string& what, std::int64_t width) {
  if (width % kHeadSize != 0)
    throw_broken_file(file.path(), fmt::format("{} is {} wide, no multiple of {}: give its number of heads by "
                                               "--model-config",
                                               what, width, kHeadSize));
  return width / kHeadSize;
}

double value_of(const OriginalFile& file, const std::string& key) {
  const at::Tensor& tensor = file.weights().at(key);
  if (tensor.numel() != 1) throw_broken_file(file.path(), fmt::format("{} is not one number", key));
  return tensor.to(at::kDouble).item<double>();
}

/// One level of the UNet: resnets at one resolution, each with a transformer behind it or none.
struct Level {
  std::int64_t channels = 0;
  std::int64_t layers = 0;
  std::int64_t depth = 0;  // of its transformers; 0 where it has none
};

std::vector<Level> down_levels(const OriginalFile& file) {
  std::vector<Level> levels(1);
  for (std::int64_t i = 1;; ++i) {
    const std::string entry = fmt::format("{}input_blocks.{}.", kUNetPrefix, i);
    if (file.has_front(entry + "0.op.")) {
      levels.emplace_back();
    } else if (file.has_front(entry)) {
      levels.back().channels = file.size(entry + "0.in_layers.2.weight", 0);
      levels.back().depth = std::max(levels.back().depth, file.count(entry + "1.transformer_blocks."));
      ++levels.back().layers;
    } else {
      break;
    }
  }
  return levels;
}

}  // namespace

bool OriginalFile::has_front(const std::string& front) const {
  const auto next = weights_.lower_bound(front);
  return next != weights_.end() && next->first.starts_with(front);
}

std::int64_t OriginalFile::count(const std::string& front) const {
  std::int64_t number = 0;
  while (has_front(fmt::format("{}{}.", front, number))) ++number;
  return number;
}

const at::Tensor& OriginalFile::tensor(const std::string& key) const {
  const auto found = weights_.find(key);
  if (found == weights_.end())
    throw_broken_file(path_, fmt::format("{} is missing, and tells a size of the model", key));
  return found->second;
}

std::int64_t OriginalFile::size(const std::string& key, std::int64_t axis) const {
  const at::Tensor& found = tensor(key);
  if (axis >= found.dim())
    throw_broken_file(path_, fmt::format("{} has {} dimensions, more than {} are needed", key, found.dim(), axis));
  return found.size(axis);
}

std::int64_t OriginalFile::dimensions(const std::string& key) const { return tensor(key).dim(); }

std::vector<OriginalTextEncoder> find_text_encoders(const OriginalFile& file) {
  std::vector<OriginalTextEncoder> encoders;
  // Some files leave out the "text_model." of transformers' names.
  const auto transformers = [&](const std::string& prefix) {
    const bool named = file.has_front(prefix + "text_model.");
    if (named || file.has_front(prefix + "embeddings."))
      encoders.push_back({prefix + (named ? "text_model." : ""), TextEncoderNames::kTransformers, "text_encoder"});
  };
  const auto open_clip = [&](const std::string& prefix, const std::string& component) {
    if (file.has_front(prefix)) encoders.push_back({prefix, TextEncoderNames::kOpenClip, component});
  };
  transformers("cond_stage_model.transformer.");
  open_clip("cond_stage_model.model.", "text_encoder");
  transformers("conditioner.embedders.0.transformer.");
  open_clip("conditioner.embedders.0.model.", "text_encoder_2");
  open_clip("conditioner.embedders.1.model.", "text_encoder_2");
  return encoders;
}

TextEncoderConfig infer_text_encoder(const OriginalFile& file, const OriginalTextEncoder& encoder) {
  const std::string& prefix = encoder.prefix;
  const bool open_clip = encoder.names == TextEncoderNames::kOpenClip;
  const std::string tokens = prefix + (open_clip ? "token_embedding.weight" : "embeddings.token_embedding.weight");
  const std::string layers = prefix + (open_clip ? "transformer.resblocks." : "encoder.layers.");
  const std::int64_t width = file.size(tokens, 1);
  Json config = {{"vocab_size", file.size(tokens, 0)},
                 {"hidden_size", width},
                 {"num_attention_heads", heads_of(file, encoder.component, width)},
                 {"max_position_embeddings",
                  file.size(prefix + (open_clip ? "positional_embedding" : "embeddings.position_embedding.weight"), 0)},
                 {"intermediate_size", file.size(layers + (open_clip ? "0.mlp.c_fc.weight" : "0.mlp.fc1.weight"), 0)},
                 {"num_hidden_layers", file.count(layers)},
                 {"hidden_act", open_clip ? "gelu" : "quick_gelu"},
                 {"eos_token_id", 2}};  // as all of these were published: pool at the largest id
  if (!open_clip) {
    config["projection_dim"] = width;
  } else if (encoder.component == "text_encoder_2") {
    config["architectures"] = Json::array({"CLIPTextModelWithProjection"});
    config["projection_dim"] = file.size(prefix + "text_projection", 1);
  } else {
    // SD 2 takes the last layer but one, so that its encoder of today has one layer less than the file.
    config["num_hidden_layers"] = std::max<std::int64_t>(file.count(layers) - 1, 0);
  }
  return parsed(file, config, parse_text_encoder_config);
}

UNetConfig infer_unet(const OriginalFile& file) {
  const std::string unet = kUNetPrefix;
  const std::vector<Level> levels = down_levels(file);
  const std::string middle = unet + "middle_block.1.";
  const std::int64_t middle_depth = file.count(middle + "transformer_blocks.");
  const bool linear = file.dimensions(middle + "proj_in.weight") == 2;
  const std::int64_t context = file.size(middle + "transformer_blocks.0.attn2.to_k.weight", 1);
  const bool is_sdxl = file.has_front(unet + "label_emb.");
  if (is_sdxl && !file.has_front("conditioner."))
    throw_broken_file(file.path(),
                      fmt::format("has {}label_emb but no text encoder of SDXL: unCLIP models and upscalers "
                                  "are not supported",
                                  unet));

  Sizes channels, layers, depths, heads;
  std::vector<std::string> down_types, up_types;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    const bool is_last = i + 1 == levels.size();
    channels.push_back(level.channels);
    layers.push_back(level.layers);
    // The config has one depth per level, and the middle block has the last one's.
    depths.push_back(is_last ? middle_depth : std::max<std::int64_t>(level.depth, 1));
    heads.push_back(linear ? heads_of(file, "the UNet", level.channels) : 8);
    down_types.emplace_back(level.depth > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D");
  }
  std::int64_t entry = 0;
  for (auto level = levels.rbegin(); level != levels.rend(); ++level) {
    const bool attends = file.has_front(fmt::format("{}output_blocks.{}.1.transformer_blocks.", unet, entry));
    up_types.emplace_back(attends ? "CrossAttnUpBlock2D" : "UpBlock2D");
    entry += level->layers + 1;
  }
  Json config = {{"in_channels", file.size(unet + "input_blocks.0.0.weight", 1)},
                 {"out_channels", file.size(unet + "out.2.weight", 0)},
                 {"block_out_channels", channels},
                 {"layers_per_block", layers},
                 {"down_block_types", down_types},
                 {"up_block_types", up_types},
                 {"transformer_layers_per_block", depths},
                 {"attention_head_dim", heads},
                 {"cross_attention_dim", context},
                 {"use_linear_projection", linear},
                 {"sample_size", is_sdxl                      ? 128
                                 : context == kSd2ContextSize ? 96
                                                              : 64}};
  if (is_sdxl)
    config.update({{"addition_embed_type", "text_time"},
                   {"addition_time_embed_dim", 256},
                   {"projection_class_embeddings_input_dim", file.size(unet + "label_emb.0.0.weight", 1)}});
  if (const std::string embedded = unet + "time_embed.cond_proj.weight"; file.has(embedded))
    config["time_cond_proj_dim"] = file.size(embedded, 1);
  return parsed(file, config, parse_unet_config);
}

VaeConfig infer_vae(const OriginalFile& file, bool is_sdxl) {
  const std::string vae = kVaePrefix;
  const std::int64_t levels = file.count(vae + "encoder.down.");
  Sizes channels;
  for (std::int64_t i = 0; i < levels; ++i)
    channels.push_back(file.size(fmt::format("{}encoder.down.{}.block.0.conv1.weight", vae, i), 0));
  const auto blocks = static_cast<std::size_t>(levels);
  const Json config = {{"block_out_channels", channels},
                       {"down_block_types", std::vector<std::string>(blocks, "DownEncoderBlock2D")},
                       {"up_block_types", std::vector<std::string>(blocks, "UpDecoderBlock2D")},
                       {"layers_per_block", file.count(vae + "encoder.down.0.block.")},
                       {"in_channels", file.size(vae + "encoder.conv_in.weight", 1)},
                       {"out_channels", file.size(vae + "decoder.conv_out.weight", 0)},
                       {"latent_channels", file.size(vae + "decoder.conv_in.weight", 1)},
                       {"use_quant_conv", file.has_front(vae + "quant_conv.")},
                       {"use_post_quant_conv", file.has_front(vae + "post_quant_conv.")},
                       {"mid_block_add_attention", file.has_front(vae + "encoder.mid.attn_1.")},
                       {"scaling_factor", is_sdxl ? 0.13025 : 0.18215}};
  return parsed(file, config, parse_vae_config);
}

bool infer_aesthetics_score(const UNetConfig& unet, const TextEncoderConfig& pooled) {
  const std::int64_t numbers_wide = unet.projection_class_embeddings_input_dim - pooled.projection_dim;
  return unet.text_time_conditioning && numbers_wide == 5 * unet.addition_time_embed_dim;
}

bool is_cosxl(const OriginalFile& file) { return file.has("edm_vpred.sigma_min") && file.has("edm_vpred.sigma_max"); }

Json infer_scheduler(const OriginalFile& file, const UNetConfig& unet) {
  if (is_cosxl(file))
    return cosxl_scheduler(value_of(file, "edm_vpred.sigma_min"), value_of(file, "edm_vpred.sigma_max"));
  if (unet.time_cond_proj_dim > 0) return lcm_scheduler();
  if (unet.text_time_conditioning) {
    Json config = sdxl_scheduler();
    // Keys without values, by which SDXL files say how they were trained.
    if (file.has("v_pred")) config["prediction_type"] = "v_prediction";
    if (file.has("ztsnr")) config["rescale_betas_zero_snr"] = true;
    return config;
  }
  if (unet.in_channels == 8) return instruct_pix2pix_scheduler();
  return unet.cross_attention_dim == kSd2ContextSize ? sd21_scheduler() : sd15_scheduler();
}

}  // namespace i2i
