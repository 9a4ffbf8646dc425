// Which part of the UNet each step of the loop evaluates, and for which rows of the guidance batch: StepSavings as
// `--features` names them, and laid out over one schedule. Called by the pipeline and by whoever reads features.
#pragma once

#include <string>
#include <vector>

#include "interface/step_savings.h"

namespace i2i {

struct StepWork {
  bool guided = true;  ///< all rows of the guidance batch; otherwise the conditional one alone
  bool whole = true;   ///< the whole UNet; otherwise its outermost resnets, on the deep features of the last whole step
};

/// @param timesteps  of the executed steps
/// @param resnets_up  on the UNet's way up: the deepest that reuse may go
/// @throws Error(kUsage) with the value and its bounds
std::vector<StepWork> plan_steps(const StepSavings& savings, const std::vector<double>& timesteps,
                                 std::size_t resnets_up);

/// A feature with a value, chosen per run; all are lossy and off by default.
struct StepFeature {
  std::string name;
  std::string form;      ///< how its value is written
  std::string standard;  ///< its value where none is given
  std::string sentence;
};
const std::vector<StepFeature>& step_features();

/// Switches a step feature on. @param value  in the feature's form; "" is its standard
/// @return false where no step feature has that name
/// @throws Error(kUsage) naming value and form, or value and bounds
bool switch_on(StepSavings& savings, const std::string& name, const std::string& value);

/// @return false where no step feature has that name
bool switch_off(StepSavings& savings, const std::string& name);

}  // namespace i2i
