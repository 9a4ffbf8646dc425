#include <cmath>

#include "optimized/schedulers/consistency.h"

namespace i2i::schedulers {

/// Luo et al. 2023, arXiv:2310.04378, algorithm 3 with section 4.1's scalings.
StepSchedule make_lcm(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"clip_sample", "thresholding"});
  const Prediction type = prediction_of(spec);
  const double scaling = number(spec, "timestep_scaling", 10);
  Consistency grid = consistency_grid(spec, plan);
  for (std::size_t i = grid.schedule.first; i < grid.schedule.timesteps.size(); ++i) {
    const double now = grid.abar_at(i), scaled = grid.schedule.timesteps[i] * scaling, sum = scaled * scaled + 0.25;
    const double c_skip = 0.25 / sum, c_out = scaled / std::sqrt(sum);
    const Linear2 x0 = x0_of(type, std::sqrt(now), std::sqrt(1 - now));
    const double next = grid.is_last(i) ? 1 : grid.abar_at(i + 1);
    StepRow row;
    row.sample = std::sqrt(next) * (c_out * x0.sample + c_skip);
    row.noise_pred = std::sqrt(next) * c_out * x0.model;
    row.noise = std::sqrt(1 - next);
    row.draws_noise = !grid.is_last(i);
    grid.add(row);
  }
  return grid.schedule;
}

}  // namespace i2i::schedulers
