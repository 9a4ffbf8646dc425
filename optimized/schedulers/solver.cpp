#include "optimized/schedulers/solver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace i2i::schedulers {

Level level_of(double sigma) {
  const double a = 1 / std::sqrt(sigma * sigma + 1);
  return {a, sigma * a, -std::log(sigma)};
}

StepSchedule lay_out_solver(const SchedulerSpec& spec, const ActionPlan& plan, const SolverLayout& layout) {
  refuse_flags(spec, {"thresholding", "use_flow_sigmas", "use_dynamic_shifting"});
  const Values abar = alphas_cumprod(spec, layout.nudges_zero_snr), table = sigma_table(abar);
  const int n = plan.num_inference_steps, training = static_cast<int>(table.size());
  int last = training;
  if (layout.clips) {
    for (const double value : abar) {  // lambda as diffusers' float32 table has it
      const float f = static_cast<float>(value);
      last -= std::log(std::sqrt(f)) - std::log(std::sqrt(1.0f - f)) < static_cast<float>(layout.lambda_min_clipped);
    }
  }

  StepSchedule schedule;
  if (layout.spacing == "trailing") {
    const double stride = static_cast<double>(training) / n;
    const int count = static_cast<int>(std::ceil(last / stride));
    for (int i = 0; i < count; ++i) schedule.timesteps.push_back(half_even(last - i * stride) - 1);
  } else if (layout.spacing == "linspace" || layout.spacing == "leading") {
    // A grid of n + 1 points whose lowest is left out.
    const int stride = last / (n + 1);
    const Values even = linspace(0, last - 1, n + 1);
    for (int i = n; i > 0; --i) {
      schedule.timesteps.push_back(layout.spacing == "leading" ? i * stride + layout.steps_offset
                                                               : half_even(even[static_cast<std::size_t>(i)]));
    }
  } else {
    refuse(spec, fmt::format("timestep_spacing={}", layout.spacing));
  }
  const SigmaGrid grid = sigma_grid(spec);
  if (grid == SigmaGrid::kTable) {
    for (const double t : schedule.timesteps) schedule.sigmas.push_back(interpolate(table, t));
  } else {
    schedule.sigmas =
        spaced_sigmas(grid, number(spec, "sigma_max", table.back()), number(spec, "sigma_min", table.front()), n);
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) {
      const double t = sigma_to_timestep(sigma, table);
      schedule.timesteps.push_back(layout.rounds ? half_even(t) : std::trunc(t));
    }
  }
  const bool grid_end = layout.repeats_last && grid != SigmaGrid::kTable;
  schedule.sigmas.push_back(layout.final_is_zero ? 0.0 : grid_end ? schedule.sigmas.back() : table.front());
  schedule.sigmas = as_float32(schedule.sigmas);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  if (schedule.first >= schedule.timesteps.size()) {
    refuse(spec, fmt::format("lambda_min_clipped={}: it leaves {} timesteps, the run starts at entry {}",
                             layout.lambda_min_clipped, schedule.timesteps.size(), schedule.first));
  }
  const Level start = level_of(schedule.sigmas[schedule.first]);
  start_from_signal(schedule, plan, start.a, start.s);
  schedule.input_scale.assign(schedule.timesteps.size() - schedule.first, 1.0);
  return schedule;
}

bool final_sigma_is_zero(const SchedulerSpec& spec) {
  const std::string type = text(spec, "final_sigmas_type", "zero");
  if (type != "zero" && type != "sigma_min") refuse(spec, "final_sigmas_type=" + type);
  return type == "zero";
}

std::size_t solver_order(const SchedulerSpec& spec) {
  const double order = number(spec, "solver_order", 2);
  if (order != 1 && order != 2 && order != 3) refuse(spec, fmt::format("solver_order={}", order));
  return static_cast<std::size_t>(order);
}

StepRow solver_row(double keep, const Linear2& output, const Values& weights) {
  StepRow row;
  row.sample = keep + weights[0] * output.sample;
  row.noise_pred = weights[0] * output.model;
  for (std::size_t k = 1; k < weights.size(); ++k) row.history[k - 1] = weights[k];
  row.remembers = true;
  row.remember_sample = output.sample;
  row.remember_noise_pred = output.model;
  return row;
}

DpmWeights DpmAlgorithm::weights(const Level& from, const Level& to) const {
  const double h = to.l - from.l;
  DpmWeights w{};
  if (predicts_x0) {
    const double u = stochastic ? 2 * h : h, k = std::expm1(-u);
    w.sample = to.s / from.s * (stochastic ? std::exp(-h) : 1);
    w.d0 = -to.a * k;
    w.d1_midpoint = w.d0 / 2;
    w.d1_heun = to.a * (k / u + 1);
    w.d2 = -to.a * ((k + u) / (u * u) + (stochastic ? 0.5 : -0.5));  // the SDE's sign is diffusers'
    if (stochastic) w.noise = to.s * std::sqrt(-std::expm1(-2 * h));
  } else {
    const double twice = stochastic ? 2 : 1, k = std::expm1(h);
    w.sample = to.a / from.a;
    w.d0 = -twice * to.s * k;
    w.d1_midpoint = w.d0 / 2;
    w.d1_heun = -twice * to.s * (k / h - 1);
    w.d2 = -to.s * ((k - h) / (h * h) - 0.5);
    if (stochastic) w.noise = to.s * std::sqrt(std::expm1(2 * h));
  }
  return w;
}

DpmAlgorithm dpm_algorithm(const SchedulerSpec& spec) {
  const std::string name = text(spec, "algorithm_type", "dpmsolver++");
  if (name == "dpmsolver++" || name == "deis") return {true, false};  // "deis" comes with a carried-over configuration
  if (name == "sde-dpmsolver++") return {true, true};
  if (name != "dpmsolver" && (name != "sde-dpmsolver" || spec.name == "dpmpp_2s")) {
    refuse(spec, "algorithm_type=" + name);
  }
  if (final_sigma_is_zero(spec)) refuse(spec, "algorithm_type=" + name + " and final_sigmas_type=zero");
  return {false, name == "sde-dpmsolver"};
}

bool solver_is_heun(const SchedulerSpec& spec) {
  const std::string solver = text(spec, "solver_type", "midpoint");
  for (const char* midpoint : {"midpoint", "logrho", "bh1", "bh2"}) {
    if (solver == midpoint) return false;
  }
  if (solver != "heun") refuse(spec, "solver_type=" + solver);
  return true;
}

}  // namespace i2i::schedulers
