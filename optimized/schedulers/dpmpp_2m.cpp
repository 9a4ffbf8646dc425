#include <algorithm>

#include "optimized/schedulers/solver.h"

namespace i2i::schedulers {

/// DPM-Solver and DPM-Solver++, multistep, orders 1 to 3, ODE and SDE (solver.h).
StepSchedule make_dpmpp_2m(const SchedulerSpec& spec, const ActionPlan& plan) {
  const DpmAlgorithm algorithm = dpm_algorithm(spec);
  const bool heun = solver_is_heun(spec), zero = final_sigma_is_zero(spec);
  const std::size_t solver = solver_order(spec);
  if (solver == 3 && algorithm.stochastic && !algorithm.predicts_x0) {
    refuse(spec, "algorithm_type=sde-dpmsolver and solver_order=3");
  }
  if (spec.config.contains("variance_type") && !spec.config.at("variance_type").is_null())
    refuse(spec, "variance_type");
  const Prediction type = prediction_of(spec);
  const SigmaGrid grid = sigma_grid(spec);
  SolverLayout layout;
  layout.spacing = text(spec, "timestep_spacing", "linspace");
  layout.steps_offset = static_cast<int>(number(spec, "steps_offset", 0));
  layout.clips = true;
  layout.lambda_min_clipped = number(spec, "lambda_min_clipped", -1e300);
  layout.nudges_zero_snr = true;
  layout.rounds = (grid == SigmaGrid::kKarras || grid == SigmaGrid::kLu) &&
                  text(spec, "beta_schedule", "linear") != "squaredcos_cap_v2";
  layout.final_is_zero = zero;
  StepSchedule schedule = lay_out_solver(spec, plan, layout);

  const std::size_t length = schedule.timesteps.size();
  const bool few_steps = flag(spec, "lower_order_final") && length < 15;
  const auto level = [&](std::size_t i) { return level_of(schedule.sigmas[i]); };
  for (std::size_t i = schedule.first; i < length; ++i) {
    std::size_t order = std::min(solver, i - schedule.first + 1);
    if (i + 1 == length && (zero || few_steps || flag(spec, "euler_at_final"))) order = 1;
    if (i + 2 == length && few_steps) order = std::min<std::size_t>(order, 2);
    const Level now = level(i), next = level(i + 1);
    const double h = next.l - now.l;
    const DpmWeights w = algorithm.weights(now, next);
    Values weights = {w.d0};  // of this output and the former ones
    if (order == 2) {
      const double slope = (heun ? w.d1_heun : w.d1_midpoint) * h / (now.l - level(i - 1).l);
      weights = {w.d0 + slope, -slope};
    } else if (order == 3) {
      // D1 = d + q (d - d'), D2 = (d - d') / (r0 + r1) with the differences d to the output before, d' before that.
      const double r0 = (now.l - level(i - 1).l) / h, r1 = (level(i - 1).l - level(i - 2).l) / h;
      const double bend = (w.d1_heun * r0 + w.d2) / (r0 + r1);
      const double newer = (w.d1_heun + bend) / r0, older = -bend / r1;
      weights = {w.d0 + newer, older - newer, -older};
    }
    StepRow row = solver_row(w.sample, algorithm.output(type, now), weights);
    row.noise = w.noise;
    row.draws_noise = algorithm.stochastic;
    schedule.rows.push_back(row);
  }
  return schedule;
}

}  // namespace i2i::schedulers
