#include <algorithm>
#include <cmath>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Ho et al. 2020, arXiv:2006.11239, eq. 6, 7 and 11, with the list's next entry in place of t - 1.
StepSchedule make_ddpm(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"clip_sample", "thresholding"});
  const std::string variance = text(spec, "variance_type", "fixed_small");
  if (variance != "fixed_small" && variance != "fixed_small_log" && variance != "fixed_large") {
    refuse(spec, "variance_type=" + variance);
  }
  const Values table = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  const auto abar_at = [&](double t) {  // -1, the last of some trailing grids, reads the table's end
    return t < 0 ? table.back() : table[static_cast<std::size_t>(t)];
  };
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const bool has_next = i + 1 < schedule.timesteps.size() && schedule.timesteps[i + 1] >= 0;
    const double now = abar_at(schedule.timesteps[i]), next = has_next ? abar_at(schedule.timesteps[i + 1]) : 1;
    const double alpha = now / next, beta = 1 - alpha;
    const Linear2 x0 = x0_of(type, std::sqrt(now), std::sqrt(1 - now));
    const double to_x0 = std::sqrt(next) * beta / (1 - now), to_x = std::sqrt(alpha) * (1 - next) / (1 - now);
    StepRow row;
    row.sample = to_x0 * x0.sample + to_x;
    row.noise_pred = to_x0 * x0.model;
    row.draws_noise = schedule.timesteps[i] > 0;
    const double smallest = std::max((1 - next) / (1 - now) * beta, 1e-20);
    if (row.draws_noise) row.noise = std::sqrt(variance == "fixed_large" ? beta : smallest);
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const double first = abar_at(schedule.timesteps[schedule.first]);
  start_from_signal(schedule, plan, std::sqrt(first), std::sqrt(1 - first));
  return schedule;
}

}  // namespace i2i::schedulers
