// What loading a folder and loading a single file have in common: reading one component's config, and checks that span
// components. Called by model_folder.cpp and single_file.cpp only.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/model_config.h"
#include "interface/tokenizer.h"

namespace i2i {

/// `folder`/`component`/config.json; whether it projects is said by `index`, the folder's model_index.json.
TextEncoderConfig read_text_encoder_config(const std::filesystem::path& folder, const std::string& component,
                                           const nlohmann::json& index);

/// "[320,4,3,3]"
std::string shape_text(at::IntArrayRef shape);

/// Appends what of a tokenizer does not fit its text encoder: more tokens than positions, ids beyond the vocabulary.
void check_tokenizer(const std::string& component, const TextEncoderConfig& config, const Tokenizer& tokenizer,
                     std::vector<std::string>& problems);

/// @throws Error(kGenerationFailed) naming `where` and every problem, if there are any
void throw_problems(const std::string& where, const std::vector<std::string>& problems);

/// What each network hands to the next must have the width that the next expects. @throws Error(kGenerationFailed)
void check_widths(const ModelConfig& config, const std::string& where);

}  // namespace i2i
