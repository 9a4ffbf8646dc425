// Where a model comes from, as the command line gives it: apart from model_files.h, which everything includes.
#pragma once

#include <memory>
#include <string>

#include "interface/model_files.h"

namespace i2i {

struct ModelSource {
  std::string path_or_name;   ///< as load_model's
  std::string config_folder;  ///< for a single file: a folder in diffusers layout with the configs, tokenizers or
                              ///< scheduler to use in place of what the file tells; "" for none
};

/// load_model, with what the command line adds to it. A path_or_name may also be a safetensors file in an original
/// layout (single_file.h). @throws as load_model; Error(kUsage) for a config_folder without a single file
std::shared_ptr<const Model> load_model(const ModelSource& source);

}  // namespace i2i
