#include <algorithm>
#include <cmath>

#include "optimized/schedulers/levels.h"

namespace i2i::schedulers {

/// DPM-Solver++(2S) as a stochastic sampler (k-diffusion's sample_dpmpp_sde), its noise from a Brownian path: two rows
/// per step. The first goes to the middle in log sigma and remembers x; the second takes the whole step from there with
/// the middle's x0. The last step is Euler's.
StepSchedule make_dpmpp_sde(const SchedulerSpec& spec, const ActionPlan& plan) {
  const Prediction type = prediction_of(spec);
  if (type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const Levels levels = lay_out_levels(spec, plan.num_inference_steps, false);
  const Values sigmas = as_float32(levels.sigmas);
  StepSchedule schedule;
  schedule.sigmas = doubled(sigmas);
  schedule.sigmas.push_back(0);
  for (std::size_t k = 0; k < sigmas.size(); ++k) {
    if (k > 0) {
      const double middle = std::sqrt(levels.sigmas[k - 1] * levels.sigmas[k]);
      schedule.timesteps.push_back(sigma_to_timestep(middle, levels.table));
    }
    schedule.timesteps.push_back(levels.timesteps[k]);
  }
  start_from_level(schedule, spec, plan, 2);
  NoiseInterval path;
  path.lowest = sigmas.back();
  path.highest = *std::max_element(sigmas.begin(), sigmas.end());
  if (const double seed = number(spec, "noise_sampler_seed", -1); seed >= 0) {
    path.seed = static_cast<std::uint64_t>(seed);
  }

  const std::size_t last = schedule.timesteps.size() - 1;
  for (std::size_t i = schedule.first; i <= last; ++i) {
    const std::size_t k = i / 2;
    const double from = sigmas[k], middle = i < last ? std::sqrt(from * sigmas[k + 1]) : 0;
    const double to = i == last ? 0 : i % 2 == 0 ? middle : sigmas[k + 1];
    const double sigma = i % 2 == 0 ? from : middle;
    const Linear2 x0 = x0_of_sigma(type, sigma);
    // x0 + down / from * (x - x0): an ancestral step, Euler's where to = 0.
    const double up = std::min(to, std::sqrt(to * to * (from * from - to * to) / (from * from)));
    const double kept = std::sqrt(to * to - up * up) / from;
    StepRow row;
    row.sample = (1 - kept) * x0.sample;
    row.noise_pred = (1 - kept) * x0.model;
    if (i % 2 == 0) {
      row.sample += kept;
      row.remembers = i < last;
      row.remember_sample = 1;
    } else {
      row.history[0] = kept;
    }
    if (i < last) {
      row.draws_noise = true;
      row.noise = up;
      const NoiseInterval between = sde_interval(from, sigmas[k + 1], i % 2 == 0);
      row.path = path;
      row.path->from = between.from;
      row.path->to = between.to;
    }
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  return schedule;
}

}  // namespace i2i::schedulers
