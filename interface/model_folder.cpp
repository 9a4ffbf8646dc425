// Loads a model by name, or from a folder in diffusers layout, whose tensor names it brings to those of today.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "interface/error.h"
#include "interface/int8_file.h"
#include "interface/json_file.h"
#include "interface/model_files.h"
#include "interface/model_parts.h"
#include "interface/model_source.h"
#include "interface/schema_validation.h"
#include "interface/single_file.h"
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
    if (!expected.contains(name))
      problems.push_back(fmt::format("{}: {} is unknown to its config", component, shortened(name)));
}

/// People give the folder into which they put a single file.
void refuse_folder_of_single_file(const fs::path& folder) {
  if (is_present(folder / "model_index.json")) return;
  std::error_code status;
  for (const auto& entry : fs::directory_iterator(folder, status))
    if (entry.path().extension() == ".safetensors")
      throw_broken_file(folder.string(), fmt::format("has no model_index.json; for a model in a single file give the "
                                                     "file: {}",
                                                     entry.path().string()));
}

std::shared_ptr<const Model> load_folder(const fs::path& folder, const std::string& name) {
  const auto config_of = [&](const char* component) {
    return read_json_object((folder / component / "config.json").string());
  };
  refuse_folder_of_single_file(folder);
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
    const TextEncoderConfig config = read_text_encoder_config(folder, encoder, index);
    model->text_encoder_weights.push_back(normalized_text_encoder(read_component(folder / encoder, "model")));
    check_layout(encoder, model->text_encoder_weights.back(), text_encoder_layout(config), problems);
    model->tokenizers.push_back(Tokenizer::load((folder / tokenizer).string()));
    check_tokenizer(encoder, config, model->tokenizers.back(), problems);
    model->config.text_encoders.push_back(config);
  }
  if (model->config.text_encoders.empty()) throw_broken_file(folder.string(), "has no text encoder");
  model->config.unet = parse_unet_config(config_of("unet"));
  model->unet_weights = read_component(folder / "unet", "diffusion_pytorch_model");
  check_layout("unet", model->unet_weights, unet_layout(model->config.unet), problems);
  model->config.vae = parse_vae_config(config_of("vae"));
  model->vae_weights = normalized_vae(read_component(folder / "vae", "diffusion_pytorch_model"));
  check_layout("vae", model->vae_weights, vae_layout(model->config.vae), problems);

  throw_problems(folder.string(), problems);
  check_widths(model->config, folder.string());
  return model;
}

fs::path datasets_folder() {
  const char* chosen = std::getenv("I2I_DATASETS");
  return chosen != nullptr && *chosen != '\0' ? fs::path(chosen) : fs::path(I2I_SOURCE_DIR) / "datasets";
}

}  // namespace

std::vector<std::string> layers_in_fp32(const std::string& path_or_name) {
  std::error_code status;
  const fs::path folder = path_or_name == "scenes" ? datasets_folder() / "models" / "scenes" : fs::path(path_or_name);
  const fs::path file = folder / "int8.json";
  if (!fs::is_directory(folder, status) || !is_present(file)) return {};
  const Json names = read_json_object(file.string()).value("layers_in_fp32", Json());
  const auto is_text = [](const Json& name) { return name.is_string(); };
  if (!names.is_array() || !std::all_of(names.begin(), names.end(), is_text))
    throw_broken_file(file.string(), "layers_in_fp32 must be an array of layer names");
  return names.get<std::vector<std::string>>();
}

std::vector<std::pair<std::string, std::string>> named_models() {
  std::vector<std::pair<std::string, std::string>> names = {
      {"scenes", "The embedded model: drawn shapes, two text encoders, 8 channels; every parameter does something."}};
  for (const SyntheticModel& synthetic : synthetic_models()) names.emplace_back(synthetic.name, synthetic.description);
  return names;
}

std::shared_ptr<const Model> load_model(const ModelSource& source) {
  const c10::NoGradGuard no_grad;
  const std::string& name = source.path_or_name;
  std::error_code status;
  const auto known = named_models();
  const bool is_name = std::ranges::any_of(known, [&](const auto& one) { return one.first == name; });
  if (!is_name && !fs::is_directory(name, status) && (is_present(name) || name.ends_with(".safetensors")))
    return load_single_file(name, source.config_folder);
  if (!source.config_folder.empty())
    throw Error(ErrorCode::kUsage, fmt::format("--model-config {}: describes a single file, and model \"{}\" is none",
                                               source.config_folder, name));
  if (name == "scenes") return load_folder(datasets_folder() / "models" / "scenes", name);
  for (const SyntheticModel& synthetic : synthetic_models())
    if (synthetic.name == name) return make_synthetic_model(synthetic);
  if (fs::is_directory(name, status)) return load_folder(name, name);
  std::vector<std::string> names;
  for (const auto& [one, description] : known) names.push_back(one);
  throw Error(ErrorCode::kUsage,
              fmt::format("model \"{}\" is neither a folder, nor a file, nor one of {}", name, fmt::join(names, ", ")));
}

std::shared_ptr<const Model> load_model(const std::string& path_or_name) {
  return load_model(ModelSource{path_or_name, ""});
}

}  // namespace i2i
