#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "optimized/schedulers/consistency.h"

namespace i2i::schedulers {

/// Zheng et al. 2024, arXiv:2402.19159, algorithm 4; eta is the paper's gamma. diffusers' step clips nothing.
StepSchedule make_tcd(const SchedulerSpec& spec, const ActionPlan& plan) {
  const Prediction type = prediction_of(spec);
  const double eta = number(spec, "eta", 0);
  if (!(eta >= 0 && eta <= 1)) throw Error(ErrorCode::kUsage, fmt::format("tcd: eta {} is not in [0, 1]", eta));
  Consistency grid = consistency_grid(spec, plan);
  for (std::size_t i = grid.schedule.first; i < grid.schedule.timesteps.size(); ++i) {
    const double now = grid.abar_at(i), next_t = grid.is_last(i) ? 0 : grid.schedule.timesteps[i + 1];
    // In float32, as torch multiplies a whole number's tensor.
    const auto s = static_cast<std::size_t>(static_cast<float>(1 - eta) * static_cast<float>(next_t));
    const double below = grid.abar[s];
    const Linear2 x0 = x0_of(type, std::sqrt(now), std::sqrt(1 - now)),
                  e = noise_of(type, std::sqrt(now), std::sqrt(1 - now));
    const bool renoises = eta > 0 && !grid.is_last(i);
    const double ratio = renoises ? grid.abar_at(i + 1) / below : 1;
    const double to_x0 = std::sqrt(ratio * below), to_noise = std::sqrt(ratio * (1 - below));
    StepRow row;
    row.sample = to_x0 * x0.sample + to_noise * e.sample;
    row.noise_pred = to_x0 * x0.model + to_noise * e.model;
    row.noise = std::sqrt(1 - ratio);
    row.draws_noise = renoises;
    grid.add(row);
  }
  return grid.schedule;
}

}  // namespace i2i::schedulers
