#include <algorithm>

#include "optimized/schedulers/solver.h"

namespace i2i::schedulers {

/// DPM-Solver and DPM-Solver++, singlestep: groups of solver_order steps, each from the group's first sample. That
/// sample is not kept: it follows from the one at hand, which the row before made of it, of outputs and of noise.
StepSchedule make_dpmpp_2s(const SchedulerSpec& spec, const ActionPlan& plan) {
  const DpmAlgorithm algorithm = dpm_algorithm(spec);
  const bool heun = solver_is_heun(spec), zero = final_sigma_is_zero(spec);
  const std::size_t solver = solver_order(spec);
  if (spec.config.contains("variance_type") && !spec.config.at("variance_type").is_null())
    refuse(spec, "variance_type");
  const Prediction type = prediction_of(spec);
  SolverLayout layout;
  layout.clips = true;
  layout.lambda_min_clipped = number(spec, "lambda_min_clipped", -1e300);
  layout.rounds = sigma_grid(spec) == SigmaGrid::kKarras;
  layout.final_is_zero = zero;
  StepSchedule schedule = lay_out_solver(spec, plan, layout);

  const std::size_t length = schedule.timesteps.size();
  const bool whole_groups = length % solver == 0;
  const bool last_is_first_order = zero || (whole_groups && flag(spec, "lower_order_final"));
  const auto level = [&](std::size_t i) { return level_of(schedule.sigmas[i]); };
  double from_group = 1, from_noise = 0;  // x = from_group * (the group's sample) + from_noise * (the last draw) + ...
  Values from_outputs;                    // ... + from_outputs[k] * (the output k entries before this one's)
  for (std::size_t i = schedule.first; i < length; ++i) {
    const std::size_t planned = i + 1 == length && last_is_first_order ? 1 : i % solver + 1;
    const std::size_t order = std::min(planned, i - schedule.first + 1);
    if (order == 1) {
      from_group = 1;
      from_noise = 0;
      from_outputs.clear();
    }
    const Level start = level(i + 1 - order), now = level(i), next = level(i + 1);
    const double h = next.l - start.l;
    const DpmWeights w = algorithm.weights(start, next);
    Values weights = {w.d0};  // of this output and the former ones
    if (order == 2) {
      const double slope = (heun ? w.d1_heun : w.d1_midpoint) * h / (now.l - start.l);
      weights = {slope, w.d0 - slope};
    } else if (order == 3) {
      // Differences d to the group's first output, of this output over r0 and of the one before over r1.
      const double r0 = (now.l - start.l) / h, r1 = (level(i - 1).l - start.l) / h;
      const double d0 = heun ? (2 * w.d2 - r1 * w.d1_heun) / (r0 - r1) : w.d1_heun;
      const double d1 = heun ? (r0 * w.d1_heun - 2 * w.d2) / (r0 - r1) : 0;
      weights = {d0 / r0, d1 / r1, w.d0 - d0 / r0 - d1 / r1};
    }
    const double again = w.sample / from_group;
    Values rest = weights;
    for (std::size_t k = 0; k < from_outputs.size(); ++k) rest[k + 1] -= again * from_outputs[k];
    StepRow row = solver_row(again, algorithm.output(type, now), rest);
    row.noise = w.noise;
    row.draws_noise = row.remembers_noise = algorithm.stochastic;
    if (algorithm.stochastic) {  // outputs and draws take turns in the history, the draw being the newer one
      std::fill(std::begin(row.history), std::end(row.history), 0.0);
      for (std::size_t k = 1; k < rest.size(); ++k) row.history[2 * k - 1] = rest[k];
      row.history[0] = -again * from_noise;
    }
    schedule.rows.push_back(row);
    from_group = w.sample;
    from_noise = w.noise;
    from_outputs = weights;
  }
  return schedule;
}

}  // namespace i2i::schedulers
