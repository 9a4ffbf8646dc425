// What DPM-Solver (multistep and singlestep), UniPC and DEIS share: levels, and rows over former outputs of the model.
#pragma once

#include <string>

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

/// x = a * x0 + s * noise, l = log(a / s); s = 0 and l infinite at a final sigma of 0.
struct Level {
  double a, s, l;
};
Level level_of(double sigma);

struct SolverLayout {
  std::string spacing = "linspace";
  int steps_offset = 0;
  double lambda_min_clipped = 0;  ///< lambdas below it are left out, where `clips`
  bool clips = false;
  bool nudges_zero_snr = false;
  bool rounds = false;         ///< timesteps of a grid of levels: to the nearest, or cut to whole ones
  bool final_is_zero = false;  ///< the level after the last; else the table's lowest, or
  bool repeats_last = false;   ///< the grid's own lowest
};

/// timesteps, sigmas, first and the start's scalars.
/// @throws Error(kUsage) for thresholding, flow levels, or where nothing is left to run
StepSchedule lay_out_solver(const SchedulerSpec& spec, const ActionPlan& plan, const SolverLayout& layout);

/// zero or sigma_min. @throws Error(kUsage) for another final_sigmas_type
bool final_sigma_is_zero(const SchedulerSpec& spec);

/// 1 to 3. @throws Error(kUsage) for another solver_order
std::size_t solver_order(const SchedulerSpec& spec);

/// The row of x' = keep * x + sum_k weights[k] * y_k, where y_k is the model's output of k entries ago as `output`
/// reads it; the row remembers its own.
StepRow solver_row(double keep, const Linear2& output, const Values& weights);

/// DPM-Solver's update x' = sample * x + d0 * D0 + d1 * D1 + d2 * D2 + noise * n over D0, an output, and its divided
/// differences over lambda. Lu et al. 2022, arXiv:2206.00927 (on the noise) and arXiv:2211.01095 (on x0).
struct DpmWeights {
  double sample, d0, d1_midpoint, d1_heun, d2, noise;
};
struct DpmAlgorithm {
  bool predicts_x0, stochastic;

  DpmWeights weights(const Level& from, const Level& to) const;
  Linear2 output(Prediction type, const Level& level) const {
    return predicts_x0 ? x0_of(type, level.a, level.s) : noise_of(type, level.a, level.s);
  }
};
/// @throws Error(kUsage) for another algorithm_type, or one on the noise with a final sigma of 0
DpmAlgorithm dpm_algorithm(const SchedulerSpec& spec);

/// "heun", against "midpoint" and the other solvers' names that are taken for it.
bool solver_is_heun(const SchedulerSpec& spec);

}  // namespace i2i::schedulers
