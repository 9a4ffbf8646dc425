#include <algorithm>
#include <cmath>

#include "optimized/schedulers/solver.h"

namespace i2i::schedulers {
namespace {

/// The integral over rho from `from` to `to` of the Lagrange polynomial in log(rho) that is 1 at nodes[k] and 0 at the
/// others. With y = log(rho), the antiderivatives of 1, y and y^2 are rho, rho (y - 1) and rho (y^2 - 2 y + 2).
double lagrange_integral(const Values& nodes, std::size_t k, double from, double to) {
  double constant = 1, linear = 0, square = 0;  // the polynomial's coefficients in y
  for (std::size_t other = 0; other < nodes.size(); ++other) {
    if (other == k) continue;
    const double root = std::log(nodes[other]), scale = std::log(nodes[k]) - root;
    square = (linear - root * square) / scale;
    linear = (constant - root * linear) / scale;
    constant = -root * constant / scale;
  }
  const auto at = [&](double rho) {
    const double y = std::log(rho);
    return rho * (constant + linear * (y - 1) + square * (y * y - 2 * y + 2));
  };
  return at(to) - at(from);
}

}  // namespace

/// Zhang & Chen 2022, arXiv:2204.13902, multistep with polynomials in log(rho) through the last outputs, rho = sigma.
StepSchedule make_deis(const SchedulerSpec& spec, const ActionPlan& plan) {
  const std::size_t solver = solver_order(spec);
  const std::string algorithm = text(spec, "algorithm_type", "deis");
  if (algorithm != "deis" && algorithm != "dpmsolver" && algorithm != "dpmsolver++") {
    refuse(spec, "algorithm_type=" + algorithm);
  }
  if (text(spec, "solver_type", "logrho") != "logrho") solver_is_heun(spec);  // refuses what no solver knows
  const Prediction type = prediction_of(spec);
  SolverLayout layout;
  layout.spacing = text(spec, "timestep_spacing", "linspace");
  layout.steps_offset = static_cast<int>(number(spec, "steps_offset", 0));
  layout.rounds = sigma_grid(spec) == SigmaGrid::kKarras;
  layout.repeats_last = true;
  StepSchedule schedule = lay_out_solver(spec, plan, layout);

  const std::size_t length = schedule.timesteps.size();
  const bool few_steps = flag(spec, "lower_order_final") && length < 15;
  for (std::size_t i = schedule.first; i < length; ++i) {
    std::size_t order = std::min(solver, i - schedule.first + 1);
    if (i + 1 == length && few_steps) order = 1;
    if (i + 2 == length && few_steps) order = std::min<std::size_t>(order, 2);
    const Level now = level_of(schedule.sigmas[i]), next = level_of(schedule.sigmas[i + 1]);
    Values nodes;  // this level and the former ones
    for (std::size_t k = 0; k < order; ++k) nodes.push_back(schedule.sigmas[i - k]);
    Values weights;
    for (std::size_t k = 0; k < order; ++k) {
      weights.push_back(next.a * lagrange_integral(nodes, k, schedule.sigmas[i], schedule.sigmas[i + 1]));
    }
    schedule.rows.push_back(solver_row(next.a / now.a, noise_of(type, now.a, now.s), weights));
  }
  return schedule;
}

}  // namespace i2i::schedulers
