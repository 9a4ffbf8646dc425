#include <cmath>

#include "optimized/schedulers/levels.h"

namespace i2i::schedulers {

/// Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn: two rows per step. The first takes an Euler step
/// and remembers x with half of it; the second adds the other half, with the slope at the end.
StepSchedule make_heun(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"clip_sample"});
  const Prediction type = prediction_of(spec);
  const Levels levels = lay_out_levels(spec, plan.num_inference_steps, true);
  StepSchedule schedule;
  schedule.timesteps = doubled(as_float32(levels.timesteps));
  schedule.sigmas = doubled(as_float32(levels.sigmas));
  schedule.sigmas.push_back(0);
  start_from_level(schedule, spec, plan, 2);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const bool corrects = i % 2 == 1;
    const double sigma = schedule.sigmas[i];
    const double step = corrects ? sigma - schedule.sigmas[i - 1] : schedule.sigmas[i + 1] - sigma;
    const Linear2 slope = slope_at(type, sigma);
    StepRow row;
    if (corrects) {
      row.sample = step / 2 * slope.sample;
      row.noise_pred = step / 2 * slope.model;
      row.history[0] = 1;
    } else {
      row.sample = 1 + step * slope.sample;
      row.noise_pred = step * slope.model;
      row.remembers = i + 1 < schedule.timesteps.size();
      row.remember_sample = 1 + step / 2 * slope.sample;
      row.remember_noise_pred = step / 2 * slope.model;
    }
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  return schedule;
}

}  // namespace i2i::schedulers
