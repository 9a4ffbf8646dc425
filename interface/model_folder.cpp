// Loads a model from a folder in diffusers layout and brings its tensor names to those of today.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/model_files.h"
#include "interface/synthetic_model.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool replace_prefix(std::string& text, std::string_view from) {
  if (!text.starts_with(from)) return false;
  text.erase(0, from.size());
  return true;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// CLIPTextModel's keys without their prefix; the position_ids buffer of older versions is left out.
Weights normalized_text_encoder(const Weights& stored) {
  Weights weights;
  for (const auto& [key, tensor] : stored) {
    std::string name = key;
    replace_prefix(name, "text_model.");
    if (name != "embeddings.position_ids") weights.emplace(std::move(name), tensor);
  }
  return weights;
}

/// The VAE's attention was once named query, key, value, proj_attn, and in some files its linears are 1x1 convolutions.
Weights normalized_vae(const Weights& stored) {
  Weights weights;
  for (auto [key, tensor] : stored) {
    std::string name = key;
    if (name.find(".attentions.") != name.npos) {
      replace_all(name, ".query.", ".to_q.");
      replace_all(name, ".key.", ".to_k.");
      replace_all(name, ".value.", ".to_v.");
      replace_all(name, ".proj_attn.", ".to_out.0.");
      if (tensor.dim() == 4 && tensor.size(2) == 1 && tensor.size(3) == 1) tensor = tensor.flatten(1);
    }
    weights.emplace(std::move(name), std::move(tensor));
  }
  return weights;
}

/// The shards that an index names, together.
Weights read_shards(const fs::path& index_file) {
  const Json index = read_json_object(index_file.string());
  if (!index.contains("weight_map") || !index.at("weight_map").is_object())
    throw_broken_file(index_file.string(), "has no weight_map");
  std::set<std::string> files;
  for (const auto& [key, file] : index.at("weight_map").items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || fs::path(name).filename() != name)
      throw_broken_file(index_file.string(),
                        fmt::format("{} is said to be in {}, which is no file name", key, file.dump()));
    files.insert(name);
  }
  Weights weights;
  for (const std::string& file : files)
    for (auto& [key, tensor] : read_safetensors((index_file.parent_path() / file).string()))
      if (!weights.emplace(key, tensor).second)
        throw_broken_file(index_file.string(), fmt::format("{} stands in more than one shard", key));
  return weights;
}

/// `stem`.safetensors, its shards, or a variant of either (`stem`.fp16.safetensors), in this order.
Weights read_component(const fs::path& folder, const std::string& stem) {
  const fs::path whole = folder / (stem + ".safetensors");
  if (is_present(whole)) return read_safetensors(whole.string());
  const fs::path index = folder / (stem + ".safetensors.index.json");
  if (is_present(index)) return read_shards(index);

  std::vector<fs::path> variants;
  std::error_code status;
  for (const auto& entry : fs::directory_iterator(folder, status)) {
    const std::string name = entry.path().filename().string();
    const bool shard = name.find("-of-") != name.npos;
    if (name.starts_with(stem + ".") && name.ends_with(".safetensors") && !shard) variants.push_back(entry.path());
    if (name.starts_with(stem + ".safetensors.index.") && name.ends_with(".json")) variants.push_back(entry.path());
  }
  std::sort(variants.begin(), variants.end(), [](const fs::path& a, const fs::path& b) {
    const auto is_other = [](const fs::path& p) { return p.filename().string().find(".fp16.") == std::string::npos; };
    return std::pair(is_other(a), a) < std::pair(is_other(b), b);
  });
  if (variants.empty()) throw_broken_file(whole.string(), "is not there, nor shards or a variant of it");
  return variants.front().extension() == ".json" ? read_shards(variants.front())
                                                 : read_safetensors(variants.front().string());
}

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

/// Appends what is wrong with one component's tensors.
void check_layout(const std::string& component, const Weights& weights, const CheckpointLayout& layout,
                  std::vector<std::string>& problems) {
  std::set<std::string> expected;
  for (const auto& [name, shape] : layout) {
    expected.insert(name);
    const auto it = weights.find(name);
    if (it == weights.end()) {
      problems.push_back(fmt::format("{}: {} is missing", component, name));
    } else if (it->second.sizes() != at::IntArrayRef(shape)) {
      problems.push_back(fmt::format("{}: {} is {}, its config needs {}", component, name,
                                     shape_text(it->second.sizes()), shape_text(shape)));
    } else if (!at::isFloatingType(it->second.scalar_type())) {
      problems.push_back(
          fmt::format("{}: {} holds {}, not floating point", component, name, c10::toString(it->second.scalar_type())));
    }
  }
  for (const auto& [name, tensor] : weights)
    if (!expected.contains(name)) problems.push_back(fmt::format("{}: {} is unknown to its config", component, name));
}

/// What each network hands to the next must have the width that the next expects.
void check_widths(const ModelConfig& config, const std::string& folder) {
  std::int64_t text_width = 0;
  for (const TextEncoderConfig& encoder : config.text_encoders) text_width += encoder.hidden_size;
  if (text_width != config.unet.cross_attention_dim)
    throw_broken_file(folder, fmt::format("the UNet's cross_attention_dim is {}, its text encoders give {}",
                                          config.unet.cross_attention_dim, text_width));
  const bool two = config.text_encoders.size() == 2;
  if (config.is_sdxl() != (two || config.requires_aesthetics_score))
    throw_broken_file(folder, fmt::format("the UNet {} text_time conditioning, but there {} two text encoders",
                                          two ? "has no" : "has", two ? "are" : "are not"));
  if (!config.is_sdxl()) return;
  if (!config.text_encoders.back().with_projection)
    throw_broken_file(folder,
                      "the text encoder that SDXL takes its pooled text from is no CLIPTextModelWithProjection");
  const std::int64_t given =
      config.time_id_count() * config.unet.addition_time_embed_dim + config.text_encoders.back().projection_dim;
  if (given != config.unet.projection_class_embeddings_input_dim)
    throw_broken_file(folder, fmt::format("the UNet's projection_class_embeddings_input_dim is {}, {} are given",
                                          config.unet.projection_class_embeddings_input_dim, given));
}

std::shared_ptr<const Model> load_folder(const fs::path& folder, const std::string& name) {
  const auto config_of = [&](const char* component) {
    return read_json_object((folder / component / "config.json").string());
  };
  const Json index = read_json_object((folder / "model_index.json").string());
  auto model = std::make_shared<Model>();
  std::vector<std::string> problems;
  model->config.name = name;
  model->config.scheduler = read_json_object((folder / "scheduler" / "scheduler_config.json").string());
  const auto says = [&](const char* key) { return index.contains(key) && index.at(key) == true; };
  model->config.is_cosxl_edit = says("is_cosxl_edit");
  model->config.requires_aesthetics_score = says("requires_aesthetics_score");

  for (const auto& [encoder, tokenizer] :
       {std::pair("text_encoder", "tokenizer"), std::pair("text_encoder_2", "tokenizer_2")}) {
    // SDXL's refiner has the second encoder alone, and says so by a null in its index.
    const bool is_second = std::string_view(encoder) == "text_encoder_2";
    const bool left_out = !is_second && index.value(encoder, Json()) == Json::array({nullptr, nullptr});
    if (left_out || (is_second && !is_present(folder / encoder))) continue;
    TextEncoderConfig config = parse_text_encoder_config(config_of(encoder));
    const Json named = index.value(encoder, Json());
    if (named.is_array() && named.size() == 2) config.with_projection = named[1] == "CLIPTextModelWithProjection";
    model->text_encoder_weights.push_back(normalized_text_encoder(read_component(folder / encoder, "model")));
    check_layout(encoder, model->text_encoder_weights.back(), text_encoder_layout(config), problems);
    model->tokenizers.push_back(Tokenizer::load((folder / tokenizer).string()));
    const std::int64_t length = model->tokenizers.back().model_max_length();
    if (length > config.max_position_embeddings)
      problems.push_back(fmt::format("{}: has {} positions, its tokenizer gives {} tokens", encoder,
                                     config.max_position_embeddings, length));
    for (const std::int64_t id : model->tokenizers.back().encode(""))
      if (id >= config.vocab_size)
        problems.push_back(fmt::format("{}: knows {} tokens, its tokenizer gives {}", encoder, config.vocab_size, id));
    model->config.text_encoders.push_back(config);
  }
  if (model->config.text_encoders.empty()) throw_broken_file(folder.string(), "has no text encoder");
  model->config.unet = parse_unet_config(config_of("unet"));
  model->unet_weights = read_component(folder / "unet", "diffusion_pytorch_model");
  check_layout("unet", model->unet_weights, unet_layout(model->config.unet), problems);
  model->config.vae = parse_vae_config(config_of("vae"));
  model->vae_weights = normalized_vae(read_component(folder / "vae", "diffusion_pytorch_model"));
  check_layout("vae", model->vae_weights, vae_layout(model->config.vae), problems);

  if (!problems.empty())
    throw_broken_file(folder.string(),
                      fmt::format("{} tensors do not fit: {}", problems.size(), fmt::join(problems, "; ")));
  check_widths(model->config, folder.string());
  return model;
}

fs::path datasets_folder() {
  const char* chosen = std::getenv("I2I_DATASETS");
  return chosen != nullptr && *chosen != '\0' ? fs::path(chosen) : fs::path(I2I_SOURCE_DIR) / "datasets";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> named_models() {
  std::vector<std::pair<std::string, std::string>> names = {
      {"scenes", "The embedded model: drawn shapes, two text encoders, 8 channels; every parameter does something."}};
  for (const SyntheticModel& synthetic : synthetic_models()) names.emplace_back(synthetic.name, synthetic.description);
  return names;
}

std::shared_ptr<const Model> load_model(const std::string& path_or_name) {
  const c10::NoGradGuard no_grad;
  if (path_or_name == "scenes") return load_folder(datasets_folder() / "models" / "scenes", path_or_name);
  for (const SyntheticModel& synthetic : synthetic_models())
    if (synthetic.name == path_or_name) return make_synthetic_model(synthetic);
  std::error_code status;
  if (fs::is_directory(path_or_name, status)) return load_folder(path_or_name, path_or_name);
  std::vector<std::string> names;
  for (const auto& [name, description] : named_models()) names.push_back(name);
  throw Error(ErrorCode::kUsage,
              fmt::format("model \"{}\" is neither a folder nor one of {}", path_or_name, fmt::join(names, ", ")));
}

}  // namespace i2i
