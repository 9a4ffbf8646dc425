#include "harness/presets.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/compare.h"
#include "harness/implementations.h"
#include "interface/error.h"

namespace i2i {

const std::vector<Preset>& presets() {
  static const std::vector<Preset> kAll = {
#define I2I_PRESET(name, bound, features) {#name, bound, features},
#include "harness/presets.inc"
#undef I2I_PRESET
  };
  return kAll;
}

const Preset& preset_named(const std::string& name) {
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  if (found != presets().end()) return *found;
  std::string known;
  for (const Preset& preset : presets()) known += (known.empty() ? "" : ", ") + preset.name;
  throw Error(ErrorCode::kUsage, fmt::format("there is no preset '{}'; known: {}", name, known));
}

std::string features_of(const std::string& preset, const std::string& features) {
  if (preset.empty()) return features;
  const std::string& own = preset_named(preset).features;
  return own + (own.empty() || features.empty() ? "" : ",") + features;
}

nlohmann::json bounds_of(const std::string& preset, const std::string& features, const std::string& dtype) {
  if (!parse_features(features_of(preset, features)).lossy()) return default_bounds(dtype);
  return {{"lpips", preset.empty() ? presets().back().lpips_bound : preset_named(preset).lpips_bound}};
}

}  // namespace i2i
