#include "optimized/int8_layers.h"

#include <algorithm>
#include <iterator>

namespace i2i {

Int8Layers::Layer* Int8Layers::enter(const std::string& name, bool pays) {
  if (kept_.contains(name)) {
    met_.insert(name);
    return nullptr;
  }
  if (!pays && !switchable_) return nullptr;
  return &layers_[name];
}

std::vector<std::string> Int8Layers::unknown() const {
  std::vector<std::string> names;
  std::set_difference(kept_.begin(), kept_.end(), met_.begin(), met_.end(), std::back_inserter(names));
  return names;
}

}  // namespace i2i
