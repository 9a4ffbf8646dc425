#include "optimized/schedulers/consistency.h"

#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"

namespace i2i::schedulers {

Consistency consistency_grid(const SchedulerSpec& spec, const ActionPlan& plan) {
  Consistency grid;
  grid.abar = alphas_cumprod(spec, false);
  const int training = static_cast<int>(grid.abar.size()), n = plan.num_inference_steps;
  const int original = static_cast<int>(number(spec, "original_inference_steps", 50));
  if (original < 1 || original > training || n > original) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: 1 <= {} steps <= original_inference_steps {} <= num_train_timesteps {} does not hold",
                            spec.name, n, original, training));
  }
  const double skip = static_cast<double>(original) / n;
  const int training_per_original = training / original;  // whole, as in diffusers
  for (int i = 0; i < n; ++i) {
    grid.schedule.timesteps.push_back((original - std::floor(i * skip)) * training_per_original - 1);
  }
  grid.schedule.first = static_cast<std::size_t>(plan.t_start);
  const double first = grid.abar_at(grid.schedule.first);
  start_from_signal(grid.schedule, plan, std::sqrt(first), std::sqrt(1 - first));
  return grid;
}

}  // namespace i2i::schedulers
