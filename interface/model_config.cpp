#include "interface/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "interface/error.h"
#include "interface/schema_validation.h"

namespace i2i {
namespace {

using Json = nlohmann::json;
using Integers = std::vector<std::int64_t>;

/// Reads the keys of one config.json. A key that is absent or null means the default that the caller gives.
class ConfigReader {
 public:
  ConfigReader(const Json& config, std::string kind) : config_(config), kind_(std::move(kind)) {
    if (!config.is_object()) throw Error(ErrorCode::kGenerationFailed, kind_ + " config: is not a JSON object");
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    const std::string value = config_.contains(key) ? shortened(config_.at(key).dump()) : "missing";
    throw Error(ErrorCode::kGenerationFailed, fmt::format("{} config: {} is {}: {}", kind_, key, value, why));
  }

  const Json* find(const std::string& key) const {
    const auto it = config_.find(key);
    return it == config_.end() || it->is_null() ? nullptr : &*it;
  }

  std::int64_t size(const std::string& key, std::int64_t default_value) const {
    const Json* value = find(key);
    return value == nullptr ? default_value : size_of(key, *value);
  }

  double number(const std::string& key, double default_value) const {
    const Json* value = find(key);
    if (value == nullptr) return default_value;
    if (!value->is_number()) refuse(key, "a number is needed");
    return value->get<double>();
  }

  bool boolean(const std::string& key, bool default_value) const {
    const Json* value = find(key);
    if (value == nullptr) return default_value;
    if (!value->is_boolean()) refuse(key, "true or false is needed");
    return value->get<bool>();
  }

  std::string text(const std::string& key, const std::string& default_value) const {
    const Json* value = find(key);
    if (value == nullptr) return default_value;
    if (!value->is_string()) refuse(key, "a string is needed");
    return value->get<std::string>();
  }

  std::vector<double> numbers(const std::string& key) const {
    std::vector<double> values;
    const Json* value = find(key);
    if (value == nullptr) return values;
    if (!value->is_array()) refuse(key, "a list of numbers is needed");
    for (const Json& item : *value) {
      if (!item.is_number()) refuse(key, "a list of numbers is needed");
      values.push_back(item.get<double>());
    }
    return values;
  }

  Integers sizes(const std::string& key, const Integers& default_value) const {
    const Json* value = find(key);
    if (value == nullptr) return default_value;
    if (!value->is_array() || value->empty() || value->size() > 16) refuse(key, "a list of 1 to 16 sizes is needed");
    Integers values;
    for (const Json& item : *value) values.push_back(size_of(key, item));
    return values;
  }

  /// One entry per block, from a single value or a list of as many.
  Integers sizes_per_block(const std::string& key, std::int64_t default_value, std::size_t blocks) const {
    const Json* value = find(key);
    if (value == nullptr) return Integers(blocks, default_value);
    if (!value->is_array()) return Integers(blocks, size_of(key, *value));
    Integers values = sizes(key, {});
    if (values.size() != blocks) refuse(key, fmt::format("{} entries are needed, one per block", blocks));
    return values;
  }

  std::vector<std::string> names(const std::string& key, const std::vector<std::string>& default_value) const {
    const Json* value = find(key);
    if (value == nullptr) return default_value;
    if (!value->is_array()) refuse(key, "a list of names is needed");
    std::vector<std::string> values;
    for (const Json& item : *value) {
      if (!item.is_string()) refuse(key, "a list of names is needed");
      values.push_back(item.get<std::string>());
    }
    return values;
  }

  /// The same for every block, and one of `known`.
  void check_names(const std::string& key, const std::vector<std::string>& values, std::size_t blocks,
                   const std::vector<std::string>& known) const {
    if (values.size() != blocks) refuse(key, fmt::format("{} entries are needed, one per block", blocks));
    for (const std::string& value : values)
      if (std::find(known.begin(), known.end(), value) == known.end())
        refuse(key, fmt::format("{} is not supported; known are {}", value, fmt::join(known, ", ")));
  }

  /// A key that would change the mathematics: only `supported` will do, which is also what its absence or null means.
  void only(const std::string& key, const Json& supported) const {
    const Json* value = find(key);
    if (value != nullptr && *value != supported) refuse(key, fmt::format("only {} is supported", supported.dump()));
  }

  void need_divisor(const std::string& key, std::int64_t divisor, const Integers& of) const {
    for (const std::int64_t value : of)
      if (value % divisor != 0) refuse(key, fmt::format("{} channels cannot be divided by it", value));
  }

 private:
  std::int64_t size_of(const std::string& key, const Json& value) const {
    constexpr std::int64_t kMaxSize = 1 << 24;
    const bool whole = value.is_number_integer() && value.get<double>() >= 0 && value.get<double>() <= kMaxSize;
    if (!whole) refuse(key, fmt::format("a whole number from 0 to {} is needed", kMaxSize));
    return value.get<std::int64_t>();
  }

  const Json& config_;
  std::string kind_;
};

void need_positive(const ConfigReader& reader, std::initializer_list<std::pair<const char*, std::int64_t>> values) {
  for (const auto& [key, value] : values)
    if (value < 1) reader.refuse(key, "at least 1 is needed");
}

/// Depths multiply into the number of tensors: a config of one line must not ask for a layout that fills the memory.
constexpr std::int64_t kMaxTextLayers = 200;
constexpr std::int64_t kMaxLayersPerBlock = 16;
constexpr std::int64_t kMaxTransformerLayers = 48;

void need_at_most(const ConfigReader& reader, const char* key, std::int64_t value, std::int64_t bound) {
  if (value > bound) reader.refuse(key, fmt::format("at most {} layers are supported", bound));
}

}  // namespace

TextEncoderConfig parse_text_encoder_config(const Json& json) {
  const ConfigReader reader(json, "text encoder");
  TextEncoderConfig config;
  config.vocab_size = reader.size("vocab_size", config.vocab_size);
  config.hidden_size = reader.size("hidden_size", config.hidden_size);
  config.intermediate_size = reader.size("intermediate_size", config.intermediate_size);
  config.num_hidden_layers = reader.size("num_hidden_layers", config.num_hidden_layers);
  config.num_attention_heads = reader.size("num_attention_heads", config.num_attention_heads);
  config.max_position_embeddings = reader.size("max_position_embeddings", config.max_position_embeddings);
  config.projection_dim = reader.size("projection_dim", config.projection_dim);
  config.eos_token_id = reader.size("eos_token_id", config.eos_token_id);
  config.hidden_act = reader.text("hidden_act", config.hidden_act);
  config.layer_norm_eps = reader.number("layer_norm_eps", config.layer_norm_eps);
  const std::vector<std::string> architectures = reader.names("architectures", {});
  config.with_projection = !architectures.empty() && architectures.front() == "CLIPTextModelWithProjection";

  need_positive(reader, {{"vocab_size", config.vocab_size},
                         {"hidden_size", config.hidden_size},
                         {"intermediate_size", config.intermediate_size},
                         {"num_hidden_layers", config.num_hidden_layers},
                         {"num_attention_heads", config.num_attention_heads},
                         {"max_position_embeddings", config.max_position_embeddings},
                         {"projection_dim", config.projection_dim}});
  need_at_most(reader, "num_hidden_layers", config.num_hidden_layers, kMaxTextLayers);
  if (config.hidden_act != "quick_gelu" && config.hidden_act != "gelu")
    reader.refuse("hidden_act", "quick_gelu or gelu is needed");
  reader.need_divisor("num_attention_heads", config.num_attention_heads, {config.hidden_size});
  return config;
}

VaeConfig parse_vae_config(const Json& json) {
  const ConfigReader reader(json, "VAE");
  VaeConfig config;
  config.in_channels = reader.size("in_channels", config.in_channels);
  config.out_channels = reader.size("out_channels", config.out_channels);
  config.latent_channels = reader.size("latent_channels", config.latent_channels);
  config.block_out_channels = reader.sizes("block_out_channels", config.block_out_channels);
  config.layers_per_block = reader.size("layers_per_block", config.layers_per_block);
  config.norm_num_groups = reader.size("norm_num_groups", config.norm_num_groups);
  config.scaling_factor = reader.number("scaling_factor", config.scaling_factor);
  config.latents_mean = reader.numbers("latents_mean");
  config.latents_std = reader.numbers("latents_std");
  config.force_upcast = reader.boolean("force_upcast", config.force_upcast);
  config.use_quant_conv = reader.boolean("use_quant_conv", config.use_quant_conv);
  config.use_post_quant_conv = reader.boolean("use_post_quant_conv", config.use_post_quant_conv);
  config.mid_block_add_attention = reader.boolean("mid_block_add_attention", config.mid_block_add_attention);

  const std::size_t blocks = config.block_out_channels.size();
  reader.check_names("down_block_types", reader.names("down_block_types", {"DownEncoderBlock2D"}), blocks,
                     {"DownEncoderBlock2D"});
  reader.check_names("up_block_types", reader.names("up_block_types", {"UpDecoderBlock2D"}), blocks,
                     {"UpDecoderBlock2D"});
  reader.only("act_fn", "silu");
  need_positive(reader, {{"layers_per_block", config.layers_per_block}, {"norm_num_groups", config.norm_num_groups}});
  need_at_most(reader, "layers_per_block", config.layers_per_block, kMaxLayersPerBlock);
  if (config.in_channels != 3) reader.refuse("in_channels", "only 3 is supported");
  if (config.out_channels != 3) reader.refuse("out_channels", "only 3 is supported");
  if (config.latent_channels != 4) reader.refuse("latent_channels", "only 4 is supported");
  if (!(config.scaling_factor > 0)) reader.refuse("scaling_factor", "more than 0 is needed");
  for (const char* key : {"latents_mean", "latents_std"})
    if (const auto values = reader.numbers(key); !values.empty() && values.size() != 4)
      reader.refuse(key, "4 entries are needed, one per latent channel");
  need_positive(reader, {{"block_out_channels",
                          *std::min_element(config.block_out_channels.begin(), config.block_out_channels.end())}});
  reader.need_divisor("norm_num_groups", config.norm_num_groups, config.block_out_channels);
  return config;
}

UNetConfig parse_unet_config(const Json& json) {
  const ConfigReader reader(json, "UNet");
  UNetConfig config;
  config.sample_size = reader.size("sample_size", config.sample_size);
  config.in_channels = reader.size("in_channels", config.in_channels);
  config.out_channels = reader.size("out_channels", config.out_channels);
  config.block_out_channels = reader.sizes("block_out_channels", {320, 640, 1280, 1280});
  const std::size_t blocks = config.block_out_channels.size();
  config.down_block_types = reader.names(
      "down_block_types", {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"});
  config.up_block_types =
      reader.names("up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"});
  config.layers_per_block = reader.sizes_per_block("layers_per_block", 2, blocks);
  config.num_attention_heads = reader.sizes_per_block("attention_head_dim", 8, blocks);
  config.transformer_layers_per_block = reader.sizes_per_block("transformer_layers_per_block", 1, blocks);
  const Integers cross = reader.sizes_per_block("cross_attention_dim", 1280, blocks);
  config.cross_attention_dim = cross.front();
  config.norm_num_groups = reader.size("norm_num_groups", config.norm_num_groups);
  config.norm_eps = reader.number("norm_eps", config.norm_eps);
  config.use_linear_projection = reader.boolean("use_linear_projection", config.use_linear_projection);
  config.flip_sin_to_cos = reader.boolean("flip_sin_to_cos", config.flip_sin_to_cos);
  config.freq_shift = reader.number("freq_shift", config.freq_shift);
  config.text_time_conditioning = reader.text("addition_embed_type", "") == "text_time";
  config.addition_time_embed_dim = reader.size("addition_time_embed_dim", 0);
  config.projection_class_embeddings_input_dim = reader.size("projection_class_embeddings_input_dim", 0);
  config.time_cond_proj_dim = reader.size("time_cond_proj_dim", 0);

  reader.check_names("down_block_types", config.down_block_types, blocks, {"DownBlock2D", "CrossAttnDownBlock2D"});
  reader.check_names("up_block_types", config.up_block_types, blocks, {"UpBlock2D", "CrossAttnUpBlock2D"});
  reader.only("mid_block_type", "UNetMidBlock2DCrossAttn");
  reader.only("act_fn", "silu");
  reader.only("addition_embed_type", "text_time");
  reader.only("time_embedding_type", "positional");
  reader.only("resnet_time_scale_shift", "default");
  reader.only("attention_type", "default");
  for (const char* key : {"center_input_sample", "dual_cross_attention", "resnet_skip_time_act", "only_cross_attention",
                          "class_embeddings_concat", "mid_block_only_cross_attention"})
    reader.only(key, false);
  for (const char* key : {"downsample_padding", "mid_block_scale_factor", "resnet_out_scale_factor"})
    reader.only(key, 1);
  for (const char* key : {"conv_in_kernel", "conv_out_kernel"}) reader.only(key, 3);
  for (const char* key : {"encoder_hid_dim", "encoder_hid_dim_type", "num_attention_heads", "class_embed_type",
                          "num_class_embeds", "time_embedding_dim", "time_embedding_act_fn", "timestep_post_act",
                          "cross_attention_norm", "reverse_transformer_layers_per_block"})
    reader.only(key, nullptr);

  if (config.in_channels != 4 && config.in_channels != 8) reader.refuse("in_channels", "4 or 8 is needed");
  if (config.out_channels != 4) reader.refuse("out_channels", "only 4 is supported");
  if (!std::equal(cross.begin() + 1, cross.end(), cross.begin()))
    reader.refuse("cross_attention_dim", "the same for every block is needed");
  need_positive(reader, {{"sample_size", config.sample_size},
                         {"cross_attention_dim", config.cross_attention_dim},
                         {"norm_num_groups", config.norm_num_groups}});
  for (std::size_t i = 0; i < blocks; ++i) {
    need_positive(reader, {{"block_out_channels", config.block_out_channels[i]},
                           {"layers_per_block", config.layers_per_block[i]},
                           {"attention_head_dim", config.num_attention_heads[i]},
                           {"transformer_layers_per_block", config.transformer_layers_per_block[i]}});
    need_at_most(reader, "layers_per_block", config.layers_per_block[i], kMaxLayersPerBlock);
    need_at_most(reader, "transformer_layers_per_block", config.transformer_layers_per_block[i], kMaxTransformerLayers);
    reader.need_divisor("attention_head_dim", config.num_attention_heads[i], {config.block_out_channels[i]});
  }
  reader.need_divisor("norm_num_groups", config.norm_num_groups, config.block_out_channels);
  if (config.text_time_conditioning)
    need_positive(reader, {{"addition_time_embed_dim", config.addition_time_embed_dim},
                           {"projection_class_embeddings_input_dim", config.projection_class_embeddings_input_dim}});
  return config;
}

}  // namespace i2i
