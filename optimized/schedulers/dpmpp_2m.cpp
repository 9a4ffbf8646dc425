#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// Lu et al. 2022, arXiv:2211.01095, DPM-Solver++ of order 1 and 2 (multistep).
StepSchedule make_dpmpp_2m(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
                      "use_dynamic_shifting"});
  const std::string algorithm = text(spec, "algorithm_type", "dpmsolver++"),
                    solver = text(spec, "solver_type", "midpoint");
  if (algorithm != "dpmsolver++") refuse(spec, "algorithm_type=" + algorithm);
  if (solver != "midpoint" && solver != "heun") refuse(spec, "solver_type=" + solver);
  const int order = static_cast<int>(number(spec, "solver_order", 2));
  if (order != 1 && order != 2) refuse(spec, fmt::format("solver_order={}", order));
  if (number(spec, "lambda_min_clipped", -1e300) > -1e100) refuse(spec, "lambda_min_clipped");
  if (!text(spec, "variance_type", "").empty()) refuse(spec, "variance_type=" + text(spec, "variance_type", ""));
  const Values table = sigma_table(alphas_cumprod(spec, true));
  const Prediction type = prediction_of(spec);
  const int n = plan.num_inference_steps, training = static_cast<int>(table.size());
  const std::string spacing = text(spec, "timestep_spacing", "linspace");

  StepSchedule schedule;
  if (spacing == "linspace") {
    schedule.timesteps = rounded(linspace(0, training - 1, n + 1));
  } else if (spacing == "leading") {
    const int ratio = training / (n + 1);
    for (int i = 0; i <= n; ++i) schedule.timesteps.push_back(i * ratio);
  }
  if (spacing == "trailing") {
    schedule.timesteps = spaced_timesteps(spec, n, false);
  } else {
    if (schedule.timesteps.empty()) refuse(spec, fmt::format("timestep_spacing={}", spacing));
    schedule.timesteps.erase(schedule.timesteps.begin());  // the grid has one point more; its end, 0, is left out
    std::reverse(schedule.timesteps.begin(), schedule.timesteps.end());
    if (spacing == "leading") {
      for (double& t : schedule.timesteps) t += number(spec, "steps_offset", 0);
    }
  }
  if (flag(spec, "use_karras_sigmas")) {
    schedule.sigmas = karras_sigmas(table.back(), table.front(), n);
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) {
      const double t = sigma_to_timestep(sigma, table);
      schedule.timesteps.push_back(text(spec, "beta_schedule", "") == "squaredcos_cap_v2" ? std::trunc(t)
                                                                                          : half_even(t));
    }
  } else {
    for (const double t : schedule.timesteps) schedule.sigmas.push_back(interpolate(table, t));
  }
  const std::string final_type = text(spec, "final_sigmas_type", "zero");
  if (final_type != "zero" && final_type != "sigma_min") refuse(spec, "final_sigmas_type=" + final_type);
  schedule.sigmas.push_back(final_type == "zero" ? 0.0 : table.front());
  schedule.sigmas = as_float32(schedule.sigmas);
  schedule.first = static_cast<std::size_t>(plan.t_start);

  const auto signal_of = [](double sigma) { return 1 / std::sqrt(sigma * sigma + 1); };
  const std::size_t last = schedule.timesteps.size() - 1;
  const bool lower_order_at_end = final_type == "zero" || flag(spec, "euler_at_final") ||
                                  (flag(spec, "lower_order_final") && schedule.timesteps.size() < 15);
  for (std::size_t i = schedule.first; i <= last; ++i) {
    const double sigma = schedule.sigmas[i], next = schedule.sigmas[i + 1];
    const double signal = signal_of(sigma), next_signal = signal_of(next);
    const Linear2 x0 = x0_of(type, signal, sigma * signal);
    // lambda = log(signal / noise) = -log(sigma); e^-h = next / sigma, which is 0 on the way to sigma 0.
    const double ratio = next / sigma;
    const double keep = (next * next_signal) / (sigma * signal);
    double to_x0 = -next_signal * (ratio - 1), to_difference = 0;
    const bool first_order = order == 1 || i == schedule.first || (i == last && lower_order_at_end);
    StepRow row;
    if (!first_order) {
      const double h = -std::log(ratio), before = std::log(schedule.sigmas[i - 1] / sigma);  // lambda - lambda_prev
      const double weight = solver == "midpoint" ? to_x0 / 2 : next_signal * ((ratio - 1) / h + 1);
      to_difference = weight * h / before;  // of x0 - x0_prev; D1 is that over r0 = before / h
      row.history[0] = -to_difference;
    }
    row.sample = keep + (to_x0 + to_difference) * x0.sample;
    row.noise_pred = (to_x0 + to_difference) * x0.model;
    row.remembers = order == 2;
    row.remember_sample = x0.sample;
    row.remember_noise_pred = x0.model;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const double first_signal = signal_of(schedule.sigmas[schedule.first]);
  start_from_signal(schedule, plan, first_signal, schedule.sigmas[schedule.first] * first_signal);
  return schedule;
}

}  // namespace i2i::schedulers
