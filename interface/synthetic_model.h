// Models with published sizes and seeded weights: nothing to download, for time and memory, never for pictures. The
// tiny ones have the same structure in a few hundred thousand parameters, for tests. Called by load_model only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "interface/model_files.h"

namespace i2i {

struct SyntheticModel {
  std::string name;  ///< "synthetic:sd15" and so on
  std::string description;
  ModelConfig (*config)();
};

const std::vector<SyntheticModel>& synthetic_models();

/// Seeded values for every tensor of a layout, float32. @param name  which the seeds hang on, with the tensors' own
Weights synthetic_weights(const CheckpointLayout& layout, const std::string& name);

/// Deterministic: every tensor is drawn from a generator seeded by the model's name and its own.
std::shared_ptr<const Model> make_synthetic_model(const SyntheticModel& synthetic);

}  // namespace i2i
