// What LMS, Heun, DPM2, DPM2 ancestral and DPM++ SDE share: x = x0 + sigma * noise, a grid of levels, and slopes.
#pragma once

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// One timestep and one level per step, descending; the final level, 0, is not among them.
struct Levels {
  Values table;  ///< the training table
  Values timesteps, sigmas;
};

/// @param float32_timesteps  timesteps are rounded to float32 before levels are looked up
Levels lay_out_levels(const SchedulerSpec& spec, int n, bool float32_timesteps);

/// Every entry but the first twice.
Values doubled(const Values& values);

/// (x - x0) / sigma, Karras et al. 2022, arXiv:2206.00364, eq. 3.
Linear2 slope_at(Prediction type, double sigma);

/// The executed part of a scheduler with `order` entries per step, and the start latents at its first level; noise
/// alone has the largest level, that of the noised sample on a "leading" grid. Needs schedule.sigmas.
void start_from_level(StepSchedule& schedule, const SchedulerSpec& spec, const ActionPlan& plan, int order);

}  // namespace i2i::schedulers
