#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "interface/one_rounding.h"
#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Karras et al. 2022, arXiv:2206.00364, algorithm 1 without churn; with `ancestral` its noisy form from k-diffusion.
StepSchedule euler_schedule(const SchedulerSpec& spec, const ActionPlan& plan, bool ancestral) {
  const Values table = sigma_table(alphas_cumprod(spec, true));
  const Prediction type = prediction_of(spec);
  if (ancestral && type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const int n = plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = as_float32(spaced_timesteps(spec, n, true));
  for (const double t : schedule.timesteps) schedule.sigmas.push_back(interpolate(table, t));
  const std::string interpolation = text(spec, "interpolation_type", "linear");
  if (interpolation == "log_linear") {
    // One level more than there are timesteps, so that the last step ends at the table's lowest.
    const at::Tensor even = rounded_exp(at::linspace(std::log(static_cast<float>(table.back())),
                                                     std::log(static_cast<float>(table.front())), n + 1, at::kFloat));
    schedule.sigmas.assign(even.const_data_ptr<float>(), even.const_data_ptr<float>() + even.numel());
  } else if (interpolation != "linear") {
    refuse(spec, "interpolation_type=" + interpolation);
  }
  const SigmaGrid grid = sigma_grid(spec);
  if (grid != SigmaGrid::kTable) {
    const double highest = number(spec, "sigma_max", schedule.sigmas.front()),
                 lowest = number(spec, "sigma_min", schedule.sigmas.back());
    schedule.sigmas = spaced_sigmas(grid, highest, lowest, n);
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) schedule.timesteps.push_back(sigma_to_timestep(sigma, table));
    schedule.timesteps = as_float32(schedule.timesteps);
  }
  const std::string timestep_type = text(spec, "timestep_type", "discrete");
  if (timestep_type == "continuous" && type == Prediction::kV) {  // the model is told log(sigma) / 4
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) {
      schedule.timesteps.push_back(static_cast<double>(0.25f * std::log(static_cast<float>(sigma))));
    }
  } else if (timestep_type != "discrete" && timestep_type != "continuous") {
    refuse(spec, "timestep_type=" + timestep_type);
  }
  const std::string final_type = text(spec, "final_sigmas_type", "zero");
  if (final_type != "zero" && final_type != "sigma_min") refuse(spec, "final_sigmas_type=" + final_type);
  schedule.sigmas.push_back(final_type == "zero" ? 0.0 : table.front());
  schedule.sigmas = as_float32(schedule.sigmas);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const double sigma = schedule.sigmas[i], next = schedule.sigmas[i + 1];
    const Linear2 x0 = x0_of_sigma(type, sigma);
    StepRow row;
    double target = next;
    if (ancestral) {
      row.noise = std::sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
      row.draws_noise = true;
      target = std::sqrt(next * next - row.noise * row.noise);
    }
    const double step = (target - sigma) / sigma;  // x' = x + (x - x0) * step
    row.sample = 1 + step * (1 - x0.sample);
    row.noise_pred = -step * x0.model;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  const double highest = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  const bool leading = text(spec, "timestep_spacing", "linspace") == "leading";
  schedule.start_sample = plan.starts_from_noise ? 0 : 1;
  schedule.start_noise = !plan.starts_from_noise ? schedule.sigmas[schedule.first]
                         : leading               ? std::sqrt(highest * highest + 1)
                                                 : highest;
  return schedule;
}

StepSchedule make_euler(const SchedulerSpec& spec, const ActionPlan& plan) { return euler_schedule(spec, plan, false); }

}  // namespace i2i::schedulers
