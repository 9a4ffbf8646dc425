// Single files in original layouts, made of a golden model's tensors by datasets/goldens/single_files.json, whose names
// were written in Python and held against diffusers' own converters. Only tests include this.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/model_files.h"

namespace i2i::single_files {

namespace fs = std::filesystem;

inline const fs::path& goldens() {
  static const fs::path folder = fs::path(I2I_SOURCE_DIR) / "datasets" / "goldens";
  return folder;
}

inline const nlohmann::json& golden() {
  static const nlohmann::json document = [] {
    std::ifstream in(goldens() / "single_files.json");
    return nlohmann::json::parse(in);
  }();
  return document;
}

inline std::string folder_of(const std::string& family) { return (goldens() / "models" / family).string(); }

inline std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& [name, rows] : golden().at("families").items()) names.push_back(name);
  return names;
}

/// A test's name from a family's.
inline std::string test_name(const testing::TestParamInfo<std::string>& family) {
  std::string name = family.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// One tensor of the file, from today's.
inline at::Tensor made_of(const nlohmann::json& row, const Weights& weights) {
  if (row.is_string()) return weights.at(row.get<std::string>());
  std::vector<at::Tensor> parts;
  for (const auto& name : row.at("of")) parts.push_back(weights.at(name.get<std::string>()));
  if (row.at("how") == "rows") return at::cat(parts);
  return row.at("how") == "transposed" ? parts.at(0).t().contiguous() : parts.at(0).unsqueeze(2).unsqueeze(3);
}

/// What the single file of a golden family holds, strays included.
inline Weights tensors_of(const std::string& family, const Model& folder) {
  Weights file;
  for (const auto& [component, rows] : golden().at("families").at(family).items()) {
    const bool is_text = component.starts_with("text_encoder");
    for (const auto& [key, row] : rows.items()) {
      if (component == "strays")
        file[key] = at::ones(row.get<std::vector<std::int64_t>>());
      else
        file[key] =
            made_of(row, is_text ? folder.text_encoder_weights.at(
                                       component == "text_encoder" || folder.text_encoder_weights.size() == 1 ? 0 : 1)
                         : component == "unet" ? folder.unet_weights
                                               : folder.vae_weights);
    }
  }
  return file;
}

}  // namespace i2i::single_files
