#include "optimized/schedulers/levels.h"

#include <algorithm>
#include <cmath>

namespace i2i::schedulers {

Levels lay_out_levels(const SchedulerSpec& spec, int n, bool float32_timesteps) {
  Levels levels;
  levels.table = sigma_table(alphas_cumprod(spec, false));
  levels.timesteps = spaced_timesteps(spec, n, true);
  if (float32_timesteps) levels.timesteps = as_float32(levels.timesteps);
  for (const double t : levels.timesteps) levels.sigmas.push_back(interpolate(levels.table, t));
  const SigmaGrid grid = sigma_grid(spec);
  if (grid != SigmaGrid::kTable) {
    levels.sigmas = spaced_sigmas(grid, levels.sigmas.front(), levels.sigmas.back(), n);
    levels.timesteps.clear();
    for (const double sigma : levels.sigmas) levels.timesteps.push_back(sigma_to_timestep(sigma, levels.table));
  }
  return levels;
}

Values doubled(const Values& values) {
  Values twice;
  for (const double value : values) twice.insert(twice.end(), twice.empty() ? 1 : 2, value);
  return twice;
}

Linear2 slope_at(Prediction type, double sigma) {
  const Linear2 x0 = x0_of_sigma(type, sigma);
  return {(1 - x0.sample) / sigma, -x0.model / sigma};
}

void start_from_level(StepSchedule& schedule, const SchedulerSpec& spec, const ActionPlan& plan, int order) {
  schedule.first = static_cast<std::size_t>(plan.t_start) * static_cast<std::size_t>(order);
  schedule.start_sample = plan.starts_from_noise ? 0 : 1;
  schedule.start_noise = schedule.sigmas[schedule.first];
  if (!plan.starts_from_noise) return;
  const double highest = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  const bool leading = text(spec, "timestep_spacing", "linspace") == "leading";
  schedule.start_noise = leading ? std::sqrt(highest * highest + 1) : highest;
}

}  // namespace i2i::schedulers
