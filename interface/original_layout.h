// Where a single file keeps each tensor of a model: the key names of the original code bases (CompVis' and Stability
// AI's latent diffusion, OpenCLIP), from today's names and a config. Not a parser of files: single_file.cpp takes the
// tensors from these places, and what no place asks for is unknown.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "interface/model_config.h"

namespace i2i {

/// How a tensor lies in the file, compared with today's form.
enum class Stored {
  kAsIs,
  kTransposed,     ///< OpenCLIP's text_projection: [in, out]
  kQueryRows,      ///< the first third of OpenCLIP's in_proj
  kKeyRows,        ///< the second
  kValueRows,      ///< the last
  kAsConvolution,  ///< [out, in, 1, 1]: the linear layers of the VAE's attention
};

struct OriginalTensor {
  std::string name;                 ///< today's
  std::vector<std::int64_t> shape;  ///< today's
  std::string key;                  ///< in the file
  Stored stored = Stored::kAsIs;
};
using OriginalLayout = std::vector<OriginalTensor>;

/// The names inside a text encoder: transformers' (CLIP-L), or OpenCLIP's with its fused in_proj.
enum class TextEncoderNames { kTransformers, kOpenClip };

/// @param prefix  what stands before every key, for instance "cond_stage_model.model."
OriginalLayout original_text_encoder_layout(const TextEncoderConfig& config, TextEncoderNames names,
                                            const std::string& prefix);
OriginalLayout original_unet_layout(const UNetConfig& config);  ///< keys under kUNetPrefix
OriginalLayout original_vae_layout(const VaeConfig& config);    ///< keys under kVaePrefix

/// "down_blocks.0.attentions.0.proj_in.weight" is "input_blocks.1.1.proj_in.weight": without kUNetPrefix.
std::string original_unet_key(const std::string& name, const UNetConfig& config);

inline constexpr const char* kUNetPrefix = "model.diffusion_model.";
inline constexpr const char* kVaePrefix = "first_stage_model.";

/// The shape under which the file must hold it.
std::vector<std::int64_t> original_shape(const OriginalTensor& tensor);

/// Today's tensor from the file's: a view of it, but for text_projection, which is copied so that both forms of a model
/// multiply the same bytes in the same order. A linear layer's weight may also be stored as such where the layout has a
/// convolution.
/// @return  undefined where the file's shape is another
at::Tensor from_original(const at::Tensor& stored, const OriginalTensor& tensor);

}  // namespace i2i
