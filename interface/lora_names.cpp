// Spellings: diffusers 0.42.1, loaders/lora_conversion_utils.py and utils/state_dict_utils.py (read, not copied); the
// original layout's blocks: CompVis latent-diffusion, ldm/modules/diffusionmodules/openaimodel.py.
#include "interface/lora_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

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

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, '.');) parts.push_back(part);
  return parts;
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

std::string original_resnet_part(const std::string& part) {
  static const std::map<std::string, std::string> names = {
      {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
      {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"}};
  return names.at(part);
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
  static const std::map<std::string, std::string> outside = {{"conv_in", "input_blocks.0.0"},
                                                             {"conv_norm_out", "out.0"},
                                                             {"conv_out", "out.2"},
                                                             {"time_embedding.linear_1", "time_embed.0"},
                                                             {"time_embedding.linear_2", "time_embed.2"},
                                                             {"add_embedding.linear_1", "label_emb.0.0"},
                                                             {"add_embedding.linear_2", "label_emb.0.2"},
                                                             {"time_embedding.cond_proj", ""}};
  if (const auto found = outside.find(module); found != outside.end()) return found->second;

  // (down_blocks.BLOCK | up_blocks.BLOCK | mid_block).(resnets | attentions | ...samplers).LAYER.REST
  std::vector<std::string> parts = split(module);
  const bool is_mid = parts.front() == "mid_block", is_down = parts.front() == "down_blocks";
  const std::size_t block = is_mid ? 0 : std::stoul(parts.at(1));
  parts.erase(parts.begin(), parts.begin() + (is_mid ? 1 : 2));
  const std::string kind = parts.at(0);
  const auto layer = static_cast<std::int64_t>(std::stoul(parts.at(1)));
  parts.erase(parts.begin(), parts.begin() + 2);
  std::string rest = fmt::format("{}", fmt::join(parts, "."));
  if (kind == "resnets") rest = original_resnet_part(rest);

  if (is_mid) return fmt::format("middle_block.{}.{}", kind == "attentions" ? 1 : 2 * layer, rest);
  // Blocks are numbered in one row: on the way down after conv_in, each level's layers and then its downsampler.
  const auto& layers = config.layers_per_block;
  std::int64_t number = is_down ? 1 : 0;
  for (std::size_t before = 0; before < block; ++before)
    number += (is_down ? layers.at(before) : layers.at(layers.size() - 1 - before)) + 1;
  if (kind == "downsamplers") return fmt::format("input_blocks.{}.0.op", number + layers.at(block));
  if (kind == "upsamplers") {  // behind the last layer of its level
    const bool attends = config.up_block_types.at(block).starts_with("CrossAttn");
    return fmt::format("output_blocks.{}.{}.conv", number + layers.at(layers.size() - 1 - block), attends ? 2 : 1);
  }
  return fmt::format("{}_blocks.{}.{}.{}", is_down ? "input" : "output", number + layer, kind == "attentions" ? 1 : 0,
                     rest);
}

LoraTargets::LoraTargets(const Model& model) {
  for (const std::string& module : adaptable_modules(model.unet_weights)) {
    auto& spellings = modules_["unet"];
    for (const std::string& name : {module, old_attention_name(module), original_unet_name(module, model.config.unet)})
      if (!name.empty()) spellings.emplace(with_underscores(name), module);
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
  if (const auto at = name.find(kProcessor); at != name.npos) name.replace(at, kProcessor.size(), ".");
  name = with_underscores(name);

  std::vector<Target> targets;
  for (const auto& [of, spellings] : modules_) {
    if (!component.empty() && of != component) continue;
    if (const auto found = spellings.find(name); found != spellings.end()) targets.emplace_back(of, found->second);
  }
  return targets;
}

}  // namespace i2i
