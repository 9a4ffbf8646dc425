#include "interface/lora_scale.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "interface/json_file.h"
#include "interface/model_files.h"

namespace i2i {
namespace {

using nlohmann::json;

double number(const json& value, const std::string& name, const std::string& file) {
  if (!value.is_number()) throw_broken_file(file, fmt::format("{} is {}, a number is needed", name, value.dump()));
  return value.get<double>();
}

/// @param prefix  what stands before each key: "unet.", or nothing
LoraConfig parse_config(const json& document, const std::string& prefix, const std::string& file) {
  const auto value = [&](const char* key) { return document.value(prefix + key, json()); };
  // What would need other arithmetic than up @ down.
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias"}) {
    if (value(key) == true) throw_broken_file(file, fmt::format("{}{} is not supported", prefix, key));
  }
  LoraConfig config;
  if (const json alpha = value("lora_alpha"); !alpha.is_null())
    config.alpha = number(alpha, prefix + "lora_alpha", file);
  config.rank_stabilized = value("use_rslora") == true;
  const json patterns = value("alpha_pattern");
  if (!patterns.is_null() && !patterns.is_object())
    throw_broken_file(file, fmt::format("{}alpha_pattern is no object", prefix));
  for (const auto& [pattern, alpha] : patterns.items()) {
    // PEFT takes a regular expression; files hold module names, with ^ before them where they are whole.
    if (pattern.find_first_of("*+?()[]{}|\\$") != pattern.npos)
      throw_broken_file(file, fmt::format("{}alpha_pattern: {} is no module's name", prefix, pattern));
    config.patterns[pattern] = number(alpha, fmt::format("{}alpha_pattern of {}", prefix, pattern), file);
  }
  return config;
}

/// As PEFT: the whole name, or its end behind a dot; ^ asks for the whole.
bool matches(const std::string& pattern, const std::string& module) {
  if (pattern.starts_with('^')) return module == pattern.substr(1);
  return module == pattern || module.ends_with("." + pattern);
}

}  // namespace

double LoraConfig::scale(const std::string& module, std::int64_t rank) const {
  const std::pair<const std::string, double>* found = nullptr;
  for (const auto& pattern : patterns) {  // the one that says most, where several match
    if (matches(pattern.first, module) && (found == nullptr || pattern.first.size() > found->first.size()))
      found = &pattern;
  }
  const auto size = static_cast<double>(rank);
  return (found == nullptr ? alpha : found->second) / (rank_stabilized ? std::sqrt(size) : size);
}

std::map<std::string, LoraConfig> read_lora_configs(const std::string& path, bool peft_keys) {
  std::map<std::string, LoraConfig> configs;
  const auto metadata = read_safetensors_metadata(path);
  if (const auto text = metadata.find("lora_adapter_metadata"); text != metadata.end()) {
    const json document = parse_json(text->second, path + " lora_adapter_metadata");
    for (const std::string component : {"unet", "text_encoder", "text_encoder_2"}) {
      for (const auto& [key, value] : document.items()) {
        if (key.starts_with(component + "."))
          configs.emplace(component, parse_config(document, component + ".", path + " lora_adapter_metadata"));
      }
    }
  }
  if (peft_keys) {
    const auto beside = std::filesystem::path(path).parent_path() / "adapter_config.json";
    configs.emplace("", parse_config(read_json_object(beside.string()), "", beside.string()));
  }
  return configs;
}

}  // namespace i2i
