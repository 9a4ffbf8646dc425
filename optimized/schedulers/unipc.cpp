#include <algorithm>
#include <cmath>

#include "optimized/schedulers/solver.h"

namespace i2i::schedulers {
namespace {

/// Solves the square system by elimination with pivots; at most 3 unknowns.
Values solve(std::vector<Values> rows, Values right) {
  const std::size_t n = right.size();
  for (std::size_t column = 0; column < n; ++column) {
    std::size_t pivot = column;
    for (std::size_t r = column; r < n; ++r) {
      if (std::abs(rows[r][column]) > std::abs(rows[pivot][column])) pivot = r;
    }
    std::swap(rows[column], rows[pivot]);
    std::swap(right[column], right[pivot]);
    for (std::size_t r = 0; r < n; ++r) {
      if (r == column) continue;
      const double factor = rows[r][column] / rows[column][column];
      for (std::size_t c = column; c < n; ++c) rows[r][c] -= factor * rows[column][c];
      right[r] -= factor * right[column];
    }
  }
  for (std::size_t r = 0; r < n; ++r) right[r] /= rows[r][r];
  return right;
}

/// One update as x' = keep * x + sum_k outputs[k] * y_k + corrector * y', y' being the output at x' itself.
struct Update {
  double keep = 0;
  Values outputs;
  double corrector = 0;
};

/// Zhao et al. 2023, arXiv:2302.04867, equations 5 to 9. @param levels  the next one, this one, the former ones
Update update(const std::vector<Level>& levels, bool predicts_x0, bool bh1, bool corrects) {
  const Level &next = levels[0], &now = levels[1];
  const std::size_t order = levels.size() - 1;
  const double h = next.l - now.l, hh = predicts_x0 ? -h : h, phi_1 = std::expm1(hh), scale = bh1 ? hh : phi_1;
  Values ratios;
  for (std::size_t k = 1; k < order; ++k) ratios.push_back((levels[k + 1].l - now.l) / h);
  if (corrects) ratios.push_back(1);
  Values rho;
  if (ratios.size() == 1) {
    rho = {0.5};  // the paper's choice for one unknown
  } else if (!ratios.empty()) {
    std::vector<Values> rows;
    Values right;
    double phi = phi_1 / hh - 1, factorial = 1;
    for (std::size_t i = 1; i <= ratios.size(); ++i) {
      Values row;
      for (const double ratio : ratios) row.push_back(std::pow(ratio, static_cast<double>(i - 1)));
      rows.push_back(row);
      right.push_back(phi * factorial / scale);
      factorial *= static_cast<double>(i + 1);
      phi = phi / hh - 1 / factorial;
    }
    rho = solve(rows, right);
  }
  const double unit = predicts_x0 ? next.a : next.s;
  Update result;
  result.keep = predicts_x0 ? next.s / now.s : next.a / now.a;
  result.outputs.assign(order, 0);
  result.outputs[0] = -unit * phi_1;
  for (std::size_t k = 0; k < rho.size(); ++k) {
    const double weight = -unit * scale * rho[k] / ratios[k];
    result.outputs[0] -= weight;
    (corrects && k + 1 == rho.size() ? result.corrector : result.outputs[k + 1]) += weight;
  }
  return result;
}

}  // namespace

/// UniPC. The corrector redoes the last step with this step's output; since the sample at hand is that step's
/// prediction, its correction is the difference of both updates, and the sample before is not needed.
StepSchedule make_unipc(const SchedulerSpec& spec, const ActionPlan& plan) {
  const std::size_t solver = solver_order(spec);
  const bool zero = final_sigma_is_zero(spec), lower_order_final = flag(spec, "lower_order_final");
  const bool predicts_x0 = flag(spec, "predict_x0"), bh1 = text(spec, "solver_type", "bh2") == "bh1";
  if (!bh1 && text(spec, "solver_type", "bh2") != "bh2") solver_is_heun(spec);  // refuses what no solver knows
  for (const char* key : {"solver_p", "shift_terminal"}) {
    if (spec.config.contains(key) && !spec.config.at(key).is_null()) refuse(spec, key);
  }
  if (zero && (bh1 || !predicts_x0 || (!lower_order_final && solver > 1))) {
    refuse(spec, "final_sigmas_type=zero and solver_type=bh1, predict_x0=false or lower_order_final=false");
  }
  const Values uncorrected = numbers(spec, "disable_corrector");
  const Prediction type = prediction_of(spec);
  SolverLayout layout;
  layout.spacing = text(spec, "timestep_spacing", "linspace");
  layout.steps_offset = static_cast<int>(number(spec, "steps_offset", 0));
  layout.nudges_zero_snr = true;
  layout.rounds = sigma_grid(spec) == SigmaGrid::kKarras;
  layout.final_is_zero = zero;
  layout.repeats_last = true;
  StepSchedule schedule = lay_out_solver(spec, plan, layout);

  const std::size_t length = schedule.timesteps.size();
  Update predicted;                // of the row before
  std::vector<Level> levels_used;  // by it
  for (std::size_t i = schedule.first; i < length; ++i) {
    const Level now = level_of(schedule.sigmas[i]);
    const Linear2 output = predicts_x0 ? x0_of(type, now.a, now.s) : noise_of(type, now.a, now.s);
    // The corrected sample: x + corrector * y_0 + sum_k correction[k] * y_(k+1).
    double corrector = 0;
    Values correction;
    const bool skips =
        std::find(uncorrected.begin(), uncorrected.end(), static_cast<double>(i) - 1) != uncorrected.end();
    if (i > schedule.first && !skips) {
      const Update corrected = update(levels_used, predicts_x0, bh1, true);
      corrector = corrected.corrector;
      for (std::size_t k = 0; k < corrected.outputs.size(); ++k) {
        correction.push_back(corrected.outputs[k] - predicted.outputs[k]);
      }
    }
    std::size_t order = std::min(solver, i - schedule.first + 1);
    if (lower_order_final) order = std::min(order, length - i);
    levels_used = {level_of(schedule.sigmas[i + 1])};
    for (std::size_t k = 0; k < order; ++k) levels_used.push_back(level_of(schedule.sigmas[i - k]));
    predicted = update(levels_used, predicts_x0, bh1, false);

    Values weights(std::max(predicted.outputs.size(), correction.size() + 1), 0.0);
    std::copy(predicted.outputs.begin(), predicted.outputs.end(), weights.begin());
    weights[0] += predicted.keep * corrector;
    for (std::size_t k = 0; k < correction.size(); ++k) weights[k + 1] += predicted.keep * correction[k];
    schedule.rows.push_back(solver_row(predicted.keep, output, weights));
  }
  return schedule;
}

}  // namespace i2i::schedulers
