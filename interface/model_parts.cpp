#include "interface/model_parts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "interface/json_file.h"

namespace i2i {

TextEncoderConfig read_text_encoder_config(const std::filesystem::path& folder, const std::string& component,
                                           const nlohmann::json& index) {
  TextEncoderConfig config = parse_text_encoder_config(read_json_object((folder / component / "config.json").string()));
  const nlohmann::json named = index.value(component, nlohmann::json());
  if (named.is_array() && named.size() == 2) config.with_projection = named[1] == "CLIPTextModelWithProjection";
  return config;
}

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

void check_tokenizer(const std::string& component, const TextEncoderConfig& config, const Tokenizer& tokenizer,
                     std::vector<std::string>& problems) {
  const std::int64_t length = tokenizer.model_max_length();
  if (length > config.max_position_embeddings)
    problems.push_back(fmt::format("{}: has {} positions, its tokenizer gives {} tokens", component,
                                   config.max_position_embeddings, length));
  for (const std::int64_t id : tokenizer.encode(""))
    if (id >= config.vocab_size)
      problems.push_back(fmt::format("{}: knows {} tokens, its tokenizer gives {}", component, config.vocab_size, id));
}

void throw_problems(const std::string& where, const std::vector<std::string>& problems) {
  if (!problems.empty())
    throw_broken_file(where, fmt::format("{} tensors do not fit: {}", problems.size(), fmt::join(problems, "; ")));
}

void check_widths(const ModelConfig& config, const std::string& where) {
  std::int64_t text_width = 0;
  for (const TextEncoderConfig& encoder : config.text_encoders) text_width += encoder.hidden_size;
  if (text_width != config.unet.cross_attention_dim)
    throw_broken_file(where, fmt::format("the UNet's cross_attention_dim is {}, its text encoders give {}",
                                         config.unet.cross_attention_dim, text_width));
  const bool two = config.text_encoders.size() == 2;
  if (config.is_sdxl() != (two || config.requires_aesthetics_score))
    throw_broken_file(where, fmt::format("the UNet {} text_time conditioning, but there {} two text encoders",
                                         two ? "has no" : "has", two ? "are" : "are not"));
  if (!config.is_sdxl()) return;
  if (!config.text_encoders.back().with_projection)
    throw_broken_file(where, "the text encoder that SDXL takes its pooled text from is no CLIPTextModelWithProjection");
  const std::int64_t given =
      config.time_id_count() * config.unet.addition_time_embed_dim + config.text_encoders.back().projection_dim;
  if (given != config.unet.projection_class_embeddings_input_dim)
    throw_broken_file(where, fmt::format("the UNet's projection_class_embeddings_input_dim is {}, {} are given",
                                         config.unet.projection_class_embeddings_input_dim, given));
}

}  // namespace i2i
