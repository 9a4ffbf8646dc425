// LoRA files, merged into a model's weights when it is loaded: neither implementation knows of them. Not here: the
// keys' spellings (lora_names.h). Called by whoever loads a model for a run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "interface/model_files.h"

namespace i2i {

/// A file and how much of it is added.
struct LoraFile {
  std::string path;
  double weight = 1;
  bool operator==(const LoraFile&) const = default;
};

/// "FILE" or "FILE:WEIGHT", as --lora has it; what follows the last colon is a weight unless it looks like a path.
/// @throws Error(kUsage) for a weight that is no finite number, or no file name
LoraFile parse_lora(const std::string& text);

/// "FILE:WEIGHT", which parse_lora reads back.
std::string to_string(const LoraFile& lora);

/// The model with W + weight * scale * up @ down in the place of each weight W [out,in(,k,k)] that a file adapts by its
/// factors down [rank,in(,k,k)] and up [out,rank(,1,1)]  (Hu et al. 2021, arXiv:2106.09685, section 4.1).
///
/// scale is alpha / rank. alpha is, in this order: the `.alpha` tensor beside the factors (kohya), lora_alpha and
/// alpha_pattern of the configuration that the file carries (diffusers' lora_adapter_metadata) or that lies beside it
/// (PEFT's adapter_config.json; use_rslora divides by the root of rank), else rank. As diffusers' fuse_lora, sums are
/// in float32: the weights that are adapted are float32 copies, all others keep aliasing the file of the model.
///
/// @throws Error(kGenerationFailed) naming the file and everything in it that does not fit the model
std::shared_ptr<const Model> with_loras(std::shared_ptr<const Model> model, const std::vector<LoraFile>& loras);

}  // namespace i2i
