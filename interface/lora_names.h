// What the keys of LoRA files mean: which of a module's factors a key holds, and which tensor of a model its module is,
// in every spelling that is met (kohya's with diffusers' or the original blocks, diffusers' old and new ones, PEFT's).
// Called by lora.cpp only.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "interface/model_files.h"

namespace i2i {

enum class LoraPart { kDown, kUp, kAlpha };

/// "lora_unet_conv_in.lora_down.weight" is part kDown of the module "lora_unet_conv_in".
struct LoraKey {
  std::string module;  ///< as the file spells it
  LoraPart part;
};

/// @return nothing where the key has none of the known endings
std::optional<LoraKey> parse_lora_key(const std::string& key);

/// The method that a key belongs to where it is not plain LoRA ("DoRA", "LoHa", "LoKr", ...), else empty.
std::string_view other_adapter_method(std::string_view key);

/// PEFT's own files begin their keys with this.
constexpr std::string_view kPeftPrefix = "base_model.model.";

/// Spellings of the modules of one model. Dots and underscores are the same, as kohya writes every dot as one.
class LoraTargets {
 public:
  explicit LoraTargets(const Model& model);

  /// "unet", "text_encoder" or "text_encoder_2", and the module's name in that component's Weights, without ".weight".
  using Target = std::pair<std::string, std::string>;

  /// One target; none where no tensor has this name, several where the spelling does not say which text encoder.
  std::vector<Target> find(const std::string& module) const;

 private:
  std::map<std::string, std::map<std::string, std::string>> modules_;  ///< component -> spelling -> module
};

/// Name of a UNet module in the original (latent diffusion) layout: "down_blocks.0.attentions.0.proj_in" is
/// "input_blocks.1.1.proj_in".
std::string original_unet_name(const std::string& module, const UNetConfig& config);

}  // namespace i2i
