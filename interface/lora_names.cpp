// Spellings: diffusers 0.42.1, loaders/lora_conversion_utils.py and utils/state_dict_utils.py (read, not copied).
#include "interface/lora_names.h"

#include <algorithm>
#include <string_view>

#include "interface/original_layout.h"

namespace i2i {
namespace {

constexpr std::pair<std::string_view, LoraPart> kEndings[] = {
    {".lora_A.weight", LoraPart::kDown},
    {".lora_B.weight", LoraPart::kUp},
    {".lora_down.weight", LoraPart::kDown},
    {".lora_up.weight", LoraPart::kUp},
    {".lora_linear_layer.down.weight", LoraPart::kDown},
    {".lora_linear_layer.up.weight", LoraPart::kUp},
    {".lora.down.weight", LoraPart::kDown},
    {".lora.up.weight", LoraPart::kUp},
    {"_lora.down.weight", LoraPart::kDown},  // attn1.processor.to_q_lora.down.weight
    {"_lora.up.weight", LoraPart::kUp},
    {".alpha", LoraPart::kAlpha},
};

constexpr std::pair<std::string_view, std::string_view> kOtherMethods[] = {
    {"dora_scale", "DoRA"},
    {"lora_magnitude_vector", "DoRA"},
    {".hada_", "LoHa"},
    {".lokr_", "LoKr"},
    {"oft_", "OFT"},
    {".lora_mid.", "LoCon with a Tucker decomposition"},
    {".lora_B.bias", "LoRA with a bias"},
};

// Longer before those that they begin with.
constexpr std::pair<std::string_view, std::string_view> kComponents[] = {
    {"lora_unet_", "unet"},
    {"lora_te1_", "text_encoder"},
    {"lora_te2_", "text_encoder_2"},
    {"lora_te_", "text_encoder"},
    {"unet.", "unet"},
    {"text_encoder_2.", "text_encoder_2"},
    {"text_encoder.", "text_encoder"},
};

bool take_prefix(std::string& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.erase(0, prefix.size());
  return true;
}

std::string with_underscores(std::string text) {
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}

/// Old diffusers files call the projections of a text encoder's attention as the UNet's are called.
std::string old_attention_name(const std::string& module) {
  for (const auto& [now, before] :
       {std::pair{".q_proj", ".to_q"}, std::pair{".k_proj", ".to_k"}, std::pair{".v_proj", ".to_v"},
        std::pair{".out_proj", ".to_out"}, std::pair{".to_out.0", ".to_out"}}) {
    if (module.ends_with(now)) return module.substr(0, module.size() - std::string_view(now).size()) + before;
  }
  return module;
}

/// Modules with a matrix: linear layers and convolutions. Norms have none, and token tables are not adapted by LoRA.
std::vector<std::string> adaptable_modules(const Weights& weights) {
  constexpr std::string_view kEnding = ".weight";
  std::vector<std::string> modules;
  for (const auto& [name, tensor] : weights) {
    if (name.ends_with(kEnding) && (tensor.dim() == 2 || tensor.dim() == 4) && !name.starts_with("embeddings."))
      modules.push_back(name.substr(0, name.size() - kEnding.size()));
  }
  return modules;
}

/// SDXL's refiner has the second text encoder alone.
std::string text_encoder_name(const ModelConfig& config, std::size_t number) {
  return number == 1 || (config.is_sdxl() && config.text_encoders.size() == 1) ? "text_encoder_2" : "text_encoder";
}

}  // namespace

std::optional<LoraKey> parse_lora_key(const std::string& key) {
  for (const auto& [ending, part] : kEndings) {
    if (key.ends_with(ending) && key.size() > ending.size())
      return LoraKey{key.substr(0, key.size() - ending.size()), part};
  }
  return std::nullopt;
}

std::string_view other_adapter_method(std::string_view key) {
  for (const auto& [mark, method] : kOtherMethods) {
    if (key.find(mark) != key.npos) return method;
  }
  return {};
}

std::string original_unet_name(const std::string& module, const UNetConfig& config) {
  constexpr std::string_view kEnding = ".weight";
  const std::string key = original_unet_key(module + std::string(kEnding), config);
  return key.substr(0, key.size() - kEnding.size());
}

LoraTargets::LoraTargets(const Model& model) {
  for (const std::string& module : adaptable_modules(model.unet_weights)) {
    auto& spellings = modules_["unet"];
    for (const std::string& name : {module, old_attention_name(module), original_unet_name(module, model.config.unet)})
      spellings.emplace(with_underscores(name), module);
  }
  for (std::size_t number = 0; number < model.text_encoder_weights.size(); ++number) {
    auto& spellings = modules_[text_encoder_name(model.config, number)];
    for (const std::string& module : adaptable_modules(model.text_encoder_weights[number])) {
      for (const std::string& name : {module, old_attention_name(module)}) {
        spellings.emplace(with_underscores(name), module);
        spellings.emplace("text_model_" + with_underscores(name), module);
      }
    }
  }
}

std::vector<LoraTargets::Target> LoraTargets::find(const std::string& module) const {
  std::string name = module, component;
  take_prefix(name, kPeftPrefix);
  for (const auto& [prefix, of] : kComponents) {
    if (take_prefix(name, prefix)) {
      component = of;
      break;
    }
  }
  take_prefix(name, kPeftPrefix);
  constexpr std::string_view kProcessor = ".processor.";
  if (const auto at = name.find(kProcessor); at != name.npos) name.erase(at, kProcessor.size() - 1);
  name = with_underscores(name);

  std::vector<Target> targets;
  for (const auto& [of, spellings] : modules_) {
    if (!component.empty() && of != component) continue;
    if (const auto found = spellings.find(name); found != spellings.end()) targets.emplace_back(of, found->second);
  }
  return targets;
}

}  // namespace i2i
