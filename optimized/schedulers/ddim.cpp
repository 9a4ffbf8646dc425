#include <cmath>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Song et al. 2020, arXiv:2010.02502, eq. 12.
StepSchedule make_ddim(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"clip_sample", "thresholding"});
  const Values abar = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  const double eta = number(spec, "eta", 0);
  const double final_abar = flag(spec, "set_alpha_to_one") ? 1.0 : abar.front();
  const int stride = static_cast<int>(abar.size()) / plan.num_inference_steps;
  // The last trailing timestep may be -1, which diffusers reads from the table's end.
  const auto abar_at = [&](int t) {
    return abar[static_cast<std::size_t>(t < 0 ? t + static_cast<int>(abar.size()) : t)];
  };
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const int t = static_cast<int>(schedule.timesteps[i]), before = t - stride;
    const double now = abar_at(t);
    const double next = before >= 0 ? abar[static_cast<std::size_t>(before)] : final_abar;
    const double spread = eta * std::sqrt((1 - next) / (1 - now) * (1 - now / next));
    const Linear2 x0 = x0_of(type, std::sqrt(now), std::sqrt(1 - now)),
                  e = noise_of(type, std::sqrt(now), std::sqrt(1 - now));
    const double to_x0 = std::sqrt(next), to_noise = std::sqrt(1 - next - spread * spread);
    StepRow row;
    row.sample = to_x0 * x0.sample + to_noise * e.sample;
    row.noise_pred = to_x0 * x0.model + to_noise * e.model;
    row.noise = spread;
    row.draws_noise = eta > 0;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const double first_abar = abar_at(static_cast<int>(schedule.timesteps[schedule.first]));
  start_from_signal(schedule, plan, std::sqrt(first_abar), std::sqrt(1 - first_abar));
  return schedule;
}

}  // namespace i2i::schedulers
