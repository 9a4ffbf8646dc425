// Loads a model from one safetensors file in an original layout: SD 1.x and 2.x, SDXL and its refiner, InstructPix2Pix
// on SD and on SDXL, and CosXL. Called by load_model only.
#pragma once

#include <memory>
#include <string>

#include "interface/model_files.h"

namespace i2i {

/// The same Model as the folder form gives, its tensors views of the mapped file. Each component's config, the
/// tokenizers and the scheduler come from `config_folder` where it has them, else from the file's keys and shapes.
/// @param config_folder  a folder in diffusers layout, weights not needed; "" for none
/// @throws Error(kGenerationFailed) for a file of another kind, which is named as far as its keys tell, and for one
/// with
///         missing, unknown or misshapen tensors, all of them by the names that the file gives them
std::shared_ptr<const Model> load_single_file(const std::string& path, const std::string& config_folder);

}  // namespace i2i
