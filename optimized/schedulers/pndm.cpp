#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {
namespace {

/// Timesteps of the pseudo Runge-Kutta start: three groups of four, at t, t - r/2, t - r/2 and t - r.
Values runge_kutta_timesteps(const Values& grid, int half_stride) {
  Values timesteps;
  for (std::size_t i = 0; i < 3; ++i) {
    const double middle = grid[i + 1] + half_stride;
    timesteps.insert(timesteps.end(), {grid[i], middle, middle, grid[i + 1]});
  }
  return timesteps;
}

}  // namespace

/// Liu et al. 2022, arXiv:2202.09778, counter and repeated timestep as in semantics.md section 8.
StepSchedule make_pndm(const SchedulerSpec& spec, const ActionPlan& plan) {
  const Values abar = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  if (type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const double final_abar = flag(spec, "set_alpha_to_one") ? 1.0 : abar.front();
  const int stride = static_cast<int>(abar.size()) / plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  Values start;  // empty with skip_prk_steps
  if (flag(spec, "skip_prk_steps")) {
    if (schedule.timesteps.size() > 1) schedule.timesteps.insert(schedule.timesteps.begin() + 1, schedule.timesteps[1]);
  } else {
    if (plan.num_inference_steps < 4) {
      refuse(spec, fmt::format("skip_prk_steps=false and {} steps: it needs 4", plan.num_inference_steps));
    }
    start = runge_kutta_timesteps(schedule.timesteps, stride / 2);
    schedule.timesteps.erase(schedule.timesteps.begin(), schedule.timesteps.begin() + 3);
    schedule.timesteps.insert(schedule.timesteps.begin(), start.begin(), start.end());
  }
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
  // Samples that a later row starts from again are not kept: with x_1 = A x_0 + B m_0 they follow from what is at hand.
  Linear2 last_transfer{1, 0};
  std::size_t remembered = 0;
  std::vector<std::size_t> outputs;  // which remembered tensors are steps' outputs, oldest first
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const std::size_t counter = i - schedule.first;
    const int t = static_cast<int>(schedule.timesteps[i]);
    StepRow row;
    if (counter < start.size()) {
      // Every stage goes from its group's first sample and timestep.
      const std::size_t stage = counter % 4;
      const Linear2 now = transfer(static_cast<int>(start[counter - stage]), t - (stage % 2 == 1 ? 0 : stride / 2));
      row.sample = stage == 0 ? now.sample : now.sample / last_transfer.sample;
      row.noise_pred = stage == 3 ? now.model / 6 : now.model;
      if (stage > 0) row.history[0] = -row.sample * last_transfer.model;
      if (stage == 3) {
        row.history[0] += now.model / 3;
        row.history[1] = now.model / 3;
        row.history[2] = now.model / 6;
      }
      if (stage == 0) outputs.push_back(remembered);
      row.remembers = stage < 3;
      last_transfer = now;
    } else if (counter == 1) {
      const Linear2 again = transfer(t + stride, t);  // the first step again, with the mean of both outputs
      row.sample = again.sample / last_transfer.sample;
      row.noise_pred = again.model / 2;
      row.history[0] = again.model / 2 - row.sample * last_transfer.model;
    } else {
      const Linear2 now = transfer(t, t - stride);
      const std::size_t former = std::min<std::size_t>(outputs.size(), 3);
      row.sample = now.sample;
      row.noise_pred = now.model * kWeights[former][0];
      for (std::size_t k = 0; k < former; ++k) {
        row.history[remembered - 1 - outputs[outputs.size() - 1 - k]] = now.model * kWeights[former][k + 1];
      }
      outputs.push_back(remembered);
      row.remembers = true;
      last_transfer = now;
    }
    row.remember_noise_pred = row.remembers ? 1 : 0;
    if (row.remembers) ++remembered;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const double first_abar = abar_at(static_cast<int>(schedule.timesteps[schedule.first]));
  start_from_signal(schedule, plan, std::sqrt(first_abar), std::sqrt(1 - first_abar));
  return schedule;
}

}  // namespace i2i::schedulers
