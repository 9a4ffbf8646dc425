#include <algorithm>
#include <cmath>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Liu et al. 2022, arXiv:2202.09778, without Runge-Kutta start, counter and repeated timestep as in semantics.md
/// section 8.
StepSchedule make_pndm(const SchedulerSpec& spec, const ActionPlan& plan) {
  if (!flag(spec, "skip_prk_steps")) refuse(spec, "skip_prk_steps=false");
  const Values abar = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  if (type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const double final_abar = flag(spec, "set_alpha_to_one") ? 1.0 : abar.front();
  const int stride = static_cast<int>(abar.size()) / plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  if (schedule.timesteps.size() > 1) schedule.timesteps.insert(schedule.timesteps.begin() + 1, schedule.timesteps[1]);
  schedule.first = static_cast<std::size_t>(plan.t_start);

  const auto abar_at = [&](int t) { return t >= 0 ? abar[static_cast<std::size_t>(t)] : final_abar; };
  /// x at `to` from x and the combined output at `from`, eq. 9 of the paper.
  const auto transfer = [&](int from, int to) {
    const double now = abar_at(from), next = abar_at(to);
    const double rate = -(next - now) / (now * std::sqrt(1 - next) + std::sqrt(now * (1 - now) * next));
    const Linear2 e = noise_of(type, std::sqrt(now), std::sqrt(1 - now));
    return Linear2{std::sqrt(next / now) + rate * e.sample, rate * e.model};
  };
  // Adams-Bashforth weights, newest first, by the number of outputs at hand.
  constexpr double kWeights[4][4] = {{1, 0, 0, 0},
                                     {3. / 2, -1. / 2, 0, 0},
                                     {23. / 12, -16. / 12, 5. / 12, 0},
                                     {55. / 24, -59. / 24, 37. / 24, -9. / 24}};
  Linear2 first_transfer{1, 0};
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const std::size_t counter = i - schedule.first;
    const int t = static_cast<int>(schedule.timesteps[i]);
    StepRow row;
    if (counter == 1) {
      // From the first step's own sample again, with the mean of both outputs. That sample is not kept: it follows from
      // x_1 = A x_0 + B m_0, which is what the step before made.
      const Linear2 again = transfer(t + stride, t);
      row.sample = again.sample / first_transfer.sample;
      row.noise_pred = again.model / 2;
      row.history[0] = again.model / 2 - row.sample * first_transfer.model;
    } else {
      const Linear2 now = transfer(t, t - stride);
      if (counter == 0) first_transfer = now;
      const double* weights = kWeights[std::min<std::size_t>(counter == 0 ? 0 : counter - 1, 3)];
      row.sample = now.sample;
      row.noise_pred = now.model * weights[0];
      for (int k = 0; k < 3; ++k) row.history[k] = now.model * weights[k + 1];
      row.remembers = true;
      row.remember_noise_pred = 1;
    }
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const double first_abar = abar_at(static_cast<int>(schedule.timesteps[schedule.first]));
  start_from_signal(schedule, plan, std::sqrt(first_abar), std::sqrt(1 - first_abar));
  return schedule;
}

}  // namespace i2i::schedulers
