// What the two EDM schedulers share: levels and preconditioning of Karras et al. 2022, arXiv:2206.00364.
#pragma once

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Levels, timesteps 0.25 log(sigma), start and input scales (c_in of table 1); no rows yet.
/// @param float32_levels  levels are worked out in float32, and a final level that is not 0 is sigma_min itself
StepSchedule edm_schedule(const SchedulerSpec& spec, const ActionPlan& plan, bool float32_levels);

/// c_skip and c_out of table 1; a model of "v_prediction" has the other sign.
Linear2 edm_x0(const SchedulerSpec& spec, double sigma);

}  // namespace i2i::schedulers
