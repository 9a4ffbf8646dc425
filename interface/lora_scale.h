// How strongly a LoRA file's factors act, by what the file or the file beside it says. Called by lora.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace i2i {

/// PEFT's LoraConfig, as far as it bears on the scale of one component's factors.
struct LoraConfig {
  double alpha = 8;                        ///< LoraConfig's default
  std::map<std::string, double> patterns;  ///< module, or the end of its name -> alpha
  bool rank_stabilized = false;            ///< arXiv:2312.03732: divided by the root of rank

  /// @param module  in the model's spelling, for instance "conv_in"
  double scale(const std::string& module, std::int64_t rank) const;
};

/// Component ("unet", "text_encoder", "text_encoder_2") -> what diffusers' lora_adapter_metadata in the file's header
/// says of it. Under "" what PEFT's adapter_config.json in the file's folder says, where `peft_keys` is true.
/// @throws Error(kGenerationFailed) for a configuration that cannot be used, or adapter_config.json missing
std::map<std::string, LoraConfig> read_lora_configs(const std::string& path, bool peft_keys);

}  // namespace i2i
