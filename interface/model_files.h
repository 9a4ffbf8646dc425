// A model as bytes: configs, tokenizers, and weights by checkpoint key. Both implementations read the same Model.
// Safetensors files are memory-mapped; tensors keep their stored dtype and alias the mapping.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "interface/model_config.h"
#include "interface/tokenizer.h"

namespace i2i {

/// Checkpoint key -> tensor. Keys are diffusers' names of today: text encoders without "text_model.", VAE attention as
/// to_q.
using Weights = std::map<std::string, at::Tensor>;

struct Model {
  ModelConfig config;
  std::vector<Tokenizer> tokenizers;          ///< one per text encoder
  std::vector<Weights> text_encoder_weights;  ///< one per text encoder
  Weights unet_weights;
  Weights vae_weights;
};

/// Loads a folder in diffusers layout, "scenes" (the embedded model), or
/// "synthetic:sd15|sd21|sdxl|sd15-ip2p|sdxl-ip2p". Every key is checked against checkpoint_layout: missing, extra and
/// misshapen tensors are one error that names them all.
/// @throws Error(kGenerationFailed) for broken files, Error(kUsage) for an unknown name, listing those known
std::shared_ptr<const Model> load_model(const std::string& path_or_name);

/// Names that load_model knows, with a sentence each.
std::vector<std::pair<std::string, std::string>> named_models();

/// Reads one safetensors file: tensors alias a private read-only mapping that lives as long as any of them.
Weights read_safetensors(const std::string& path);

/// What a safetensors file says of itself in its header (`__metadata__`); empty where it says nothing.
std::map<std::string, std::string> read_safetensors_metadata(const std::string& path);

/// Says that a mapped weight is not wanted for now: its pages leave the process and come back from the file where they
/// are read again. A tensor that is not of a mapped file stays as it is.
void release_pages(const at::Tensor& tensor);

/// Writes tensors (float32, float16, bfloat16, float64, 8-bit floats, integers) as safetensors, in the order given.
void write_safetensors(const std::vector<std::pair<std::string, at::Tensor>>& tensors, const std::string& path);

/// Tensor names and shapes that a config asks for; the synthetic models are filled from it and loaded ones checked by
/// it.
using CheckpointLayout = std::vector<std::pair<std::string, std::vector<std::int64_t>>>;
CheckpointLayout text_encoder_layout(const TextEncoderConfig& config);
CheckpointLayout unet_layout(const UNetConfig& config);
CheckpointLayout vae_layout(const VaeConfig& config);

}  // namespace i2i
