#include "optimized/features.h"

#include <fmt/format.h>

#include <algorithm>

#include "interface/error.h"
#include "optimized/step_plan.h"

namespace i2i {

const std::vector<FeatureDescription>& known_features() {
  static const std::vector<FeatureDescription> kKnown = {
#define I2I_FEATURE(name, sentence) {#name, sentence, &Features::name, true, true},
#define I2I_ASKED_FEATURE(name, sentence) {#name, sentence, &Features::name, true, false},
#define I2I_LOSSY_FEATURE(name, sentence) {#name, sentence, &Features::name, false, false},
#include "optimized/features.inc"
#undef I2I_FEATURE
#undef I2I_ASKED_FEATURE
#undef I2I_LOSSY_FEATURE
  };
  return kKnown;
}

Features make_features(const std::map<std::string, bool>& switches) {
  Features features;
  for (const auto& entry : switches) {
    const std::string& name = entry.first;
    const auto& known = known_features();
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const auto& feature) { return feature.name == name; });
    if (found == known.end()) {
      std::string names;
      for (const auto& feature : known) names += (names.empty() ? "" : ", ") + feature.name;
      for (const auto& feature : step_features()) names += fmt::format(", {}={}", feature.name, feature.form);
      throw Error(ErrorCode::kUsage, fmt::format("unknown feature \"{}\"; known: {}", name, names));
    }
    features.*found->on = entry.second;
  }
  return features;
}

}  // namespace i2i
