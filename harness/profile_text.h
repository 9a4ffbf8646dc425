// A profile as text: time per stage, block and operator, each with a bar, its arithmetic rate and its share of the
// roofline. Printed by `i2i run --profile`.
#pragma once

#include <string>

#include "harness/operator_profile.h"

namespace i2i {

/// Steps are taken together. An operator's share is the least time that the roofline allows over the time it took.
std::string profile_text(const OperatorTimes& times, const Roofline& roofline);

}  // namespace i2i
