// Every optimisation by name, each with its off switch. A mismatch against the reference is bisected with these
// switches; the pipeline and its layers read them, `i2i features` lists them.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace i2i {

struct Features {
#define I2I_FEATURE(name, sentence) bool name = true;
#include "optimized/features.inc"
#undef I2I_FEATURE
};

struct FeatureDescription {
  std::string name;
  std::string sentence;
  bool Features::*on;
};

/// All features, in the order in which they are listed.
const std::vector<FeatureDescription>& known_features();

/// The defaults with the given switches applied. @throws Error(kUsage) for an unknown name, listing those known
Features make_features(const std::map<std::string, bool>& switches);

}  // namespace i2i
