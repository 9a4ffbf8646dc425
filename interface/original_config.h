// What the keys and shapes of a single file tell about its model. Sizes are read off; what no tensor shows (groups of
// the norms, heads, activations, the scheduler) is what was published with the family, as diffusers' from_single_file
// takes it. Called by single_file.cpp, for each component that no --model-config describes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/model_files.h"
#include "interface/original_layout.h"

namespace i2i {

/// The tensors of a single file, by original key.
class OriginalFile {
 public:
  OriginalFile(std::string path, Weights weights) : path_(std::move(path)), weights_(std::move(weights)) {}

  const std::string& path() const { return path_; }
  const Weights& weights() const { return weights_; }
  bool has(const std::string& key) const { return weights_.contains(key); }
  bool has_front(const std::string& front) const;
  /// How many of front + "0.", front + "1.", ... start a key, up to the first that does not.
  std::int64_t count(const std::string& front) const;
  /// One side of a tensor. @throws Error(kGenerationFailed) if the tensor or the side is missing
  std::int64_t size(const std::string& key, std::int64_t axis) const;
  std::int64_t dimensions(const std::string& key) const;

 private:
  const at::Tensor& tensor(const std::string& key) const;

  std::string path_;
  Weights weights_;
};

/// A text encoder in the file: where its keys stand, how they are named, and the folder it has in diffusers layout.
struct OriginalTextEncoder {
  std::string prefix;
  TextEncoderNames names = TextEncoderNames::kTransformers;
  std::string component;  ///< "text_encoder" or "text_encoder_2"
};

/// SD 1: CLIP-L; SD 2: OpenCLIP; SDXL: both; its refiner: OpenCLIP alone. Empty where the file has none.
std::vector<OriginalTextEncoder> find_text_encoders(const OriginalFile& file);

/// Each throws Error(kGenerationFailed), naming the file and what of it cannot be used.
TextEncoderConfig infer_text_encoder(const OriginalFile& file, const OriginalTextEncoder& encoder);
UNetConfig infer_unet(const OriginalFile& file);
VaeConfig infer_vae(const OriginalFile& file, bool is_sdxl);
nlohmann::json infer_scheduler(const OriginalFile& file, const UNetConfig& unet);

/// The refiner is told an aesthetic score in place of the target's height and width: five embedded numbers, not six,
/// beside the pooled text.
bool infer_aesthetics_score(const UNetConfig& unet, const TextEncoderConfig& pooled);

/// CosXL's keys: v prediction over EDM's noise levels, which the file gives.
bool is_cosxl(const OriginalFile& file);

}  // namespace i2i
