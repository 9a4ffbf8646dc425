// Presets: speed within a stated distance from the reference, each a name for a text of features. One table,
// presets.inc; `--preset` and the sweep axis of that name read it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace i2i {

struct Preset {
  std::string name;
  double lpips_bound;  ///< against the reference in float32
  std::string features;
};

const std::vector<Preset>& presets();

/// @throws Error(kUsage) for an unknown name, listing the known
const Preset& preset_named(const std::string& name);

/// What `--preset` and `--features` come to: the preset's features, then those given beside it. An empty name is none.
std::string features_of(const std::string& preset, const std::string& features);

/// The bounds that a run is held to: its preset's; without one those of its precision, or `fast`'s where it has lossy
/// features.
nlohmann::json bounds_of(const std::string& preset, const std::string& features, const std::string& dtype);

}  // namespace i2i
