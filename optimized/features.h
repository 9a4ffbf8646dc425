// Every optimisation by name, each with its switch. A mismatch against the reference is bisected with the exact ones,
// which are on by default but for those that cost something else; lossy ones change the pictures and are off by
// default. The pipeline and its layers read them, `i2i features` lists them.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace i2i {

struct Features {
#define I2I_FEATURE(name, sentence) bool name = true;
#define I2I_ASKED_FEATURE(name, sentence) bool name = false;
#define I2I_LOSSY_FEATURE(name, sentence) bool name = false;
#include "optimized/features.inc"
#undef I2I_FEATURE
#undef I2I_ASKED_FEATURE
#undef I2I_LOSSY_FEATURE
};

struct FeatureDescription {
  std::string name;
  std::string sentence;
  bool Features::*on;
  bool exact;       ///< the same mathematics in fp32
  bool by_default;  ///< others are on where asked for by name; `all` does not switch them on
};

/// All features, in the order in which they are listed.
const std::vector<FeatureDescription>& known_features();

/// The defaults with the given switches applied. @throws Error(kUsage) for an unknown name, listing those known
Features make_features(const std::map<std::string, bool>& switches);

}  // namespace i2i
