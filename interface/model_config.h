// What a checkpoint folder says about itself, as plain data. Missing keys hold diffusers' class defaults (semantics.md
// section 1).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace i2i {

/// CLIPTextConfig. `with_projection` is true for CLIPTextModelWithProjection.
struct TextEncoderConfig {
  std::int64_t vocab_size = 49408;
  std::int64_t hidden_size = 512;
  std::int64_t intermediate_size = 2048;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 8;
  std::int64_t max_position_embeddings = 77;
  std::int64_t projection_dim = 512;
  std::int64_t eos_token_id = 49407;  ///< 2 is the legacy value: pool at the largest token id
  std::string hidden_act = "quick_gelu";
  double layer_norm_eps = 1e-5;
  bool with_projection = false;
};

/// AutoencoderKL.
struct VaeConfig {
  std::int64_t in_channels = 3;
  std::int64_t out_channels = 3;
  std::int64_t latent_channels = 4;
  std::vector<std::int64_t> block_out_channels = {64};
  std::int64_t layers_per_block = 1;
  std::int64_t norm_num_groups = 32;
  double scaling_factor = 0.18215;
  std::vector<double> latents_mean;  ///< empty when absent; acts only together with latents_std
  std::vector<double> latents_std;
  bool force_upcast = true;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
};

/// UNet2DConditionModel. Per-block lists are expanded to one entry per down block.
struct UNetConfig {
  std::int64_t sample_size = 64;
  std::int64_t in_channels = 4;
  std::int64_t out_channels = 4;
  std::vector<std::string> down_block_types;
  std::vector<std::string> up_block_types;
  std::vector<std::int64_t> block_out_channels;
  std::vector<std::int64_t> layers_per_block;
  std::vector<std::int64_t> num_attention_heads;  ///< diffusers calls it attention_head_dim
  std::vector<std::int64_t> transformer_layers_per_block;
  std::int64_t cross_attention_dim = 1280;
  std::int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool use_linear_projection = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  bool text_time_conditioning = false;  ///< addition_embed_type == "text_time"
  std::int64_t addition_time_embed_dim = 0;
  std::int64_t projection_class_embeddings_input_dim = 0;
  std::int64_t time_cond_proj_dim = 0;  ///< more than 0: guidance_scale is embedded, as LCM checkpoints have it
};

/// One model folder.
struct ModelConfig {
  std::string name;                              ///< as given on the command line
  std::vector<TextEncoderConfig> text_encoders;  ///< one, or two for SDXL; the last gives the pooled text
  UNetConfig unet;
  VaeConfig vae;
  nlohmann::json scheduler;  ///< scheduler_config.json as it stands, _class_name included
  bool is_cosxl_edit = false;
  bool requires_aesthetics_score = false;  ///< SDXL's refiner: a score in place of the target size

  bool is_sdxl() const { return unet.text_time_conditioning; }
  /// Numbers in a row of SDXL's time_ids.
  std::int64_t time_id_count() const { return requires_aesthetics_score ? 5 : 6; }
  bool takes_source_as_condition() const { return unet.in_channels == 8; }  ///< InstructPix2Pix
  /// Pixels per latent, 2^(levels - 1) of the VAE.
  std::int64_t vae_factor() const { return std::int64_t{1} << (vae.block_out_channels.size() - 1); }
};

/// Each parses one config.json. @throws Error(kGenerationFailed) naming the key that cannot be used
TextEncoderConfig parse_text_encoder_config(const nlohmann::json& config);
VaeConfig parse_vae_config(const nlohmann::json& config);
UNetConfig parse_unet_config(const nlohmann::json& config);

}  // namespace i2i
