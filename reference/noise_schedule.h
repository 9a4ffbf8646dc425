// The tables and grids that the schedulers share: betas, alphas_cumprod, timestep spacings, Karras' noise levels.
// Rounding is diffusers' own (numpy float64 for grids, float32 for tables), since a timestep off by one is another
// picture. Called by the files of schedulers/.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "reference/scheduler.h"

namespace i2i::reference {

/// The values of beta_schedule that every class knows.
inline constexpr std::initializer_list<const char*> kBetaSchedules = {"linear", "scaled_linear", "squaredcos_cap_v2"};

/// alphas_cumprod [N] float32, from trained_betas, else num_train_timesteps, beta_start, beta_end and beta_schedule.
/// @param schedules  values of beta_schedule that the class knows
/// @param rescale_zero_snr  shift and scale sqrt(abar) so that the last is 0 (Lin et al. 2023, arXiv:2305.08891,
/// algorithm 1)
at::Tensor make_alphas_cumprod(SchedulerConfig& config, bool rescale_zero_snr,
                               std::initializer_list<const char*> schedules = kBetaSchedules);

/// sqrt((1 - abar) / abar) for a float32 table, as float32 values.
std::vector<float> make_sigmas(const at::Tensor& alphas_cumprod);

/// numpy.linspace(first, last, count).
std::vector<double> linspace(double first, double last, int count);

/// Timesteps of n steps, descending; "linspace" unrounded, the others whole (Lin et al. 2023, table 2).
std::vector<double> spaced_timesteps(const std::string& spacing, int num_train_timesteps, int n, int steps_offset);

/// Rounds every value to the nearest whole number, halves to even.
std::vector<double> rounded(std::vector<double> values);

/// table[x] by linear interpolation; clamped at the ends (numpy.interp over 0, 1, 2, ...).
double interpolate(const std::vector<float>& table, double x);

/// n levels from sigma_max down to sigma_min, evenly spaced in sigma^(1/7) (Karras et al. 2022, arXiv:2206.00364, eq.
/// 5).
std::vector<double> karras_sigmas(double sigma_max, double sigma_min, int n);

/// How a configuration wants its levels laid out between the schedule's ends; kTable takes them from the training
/// table.
enum class SigmaGrid { kTable, kKarras, kExponential, kBeta, kLu };

/// Reads use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas and, where the class has it, use_lu_lambdas.
/// @throws Error(kUsage) where two of them are true
SigmaGrid read_sigma_grid(SchedulerConfig& config, bool has_lu_lambdas = false);

/// n levels from sigma_max down to sigma_min: Karras et al.; even in log sigma; at the quantiles of Beta(0.6, 0.6) (Lee
/// et al. 2024, arXiv:2407.12173); even in lambda (Lu et al. 2022, arXiv:2206.00927, from float32 ends). Not for
/// kTable.
std::vector<double> spaced_sigmas(SigmaGrid grid, double sigma_max, double sigma_min, int n);

/// x0 with each image's values clamped to its own quantile and divided by it: dynamic thresholding (Saharia et al.
/// 2022, arXiv:2205.11487, section 2.3).
struct Thresholding {
  bool enabled;
  double ratio;
  double sample_max_value;

  explicit Thresholding(SchedulerConfig& config);
  at::Tensor operator()(const at::Tensor& x0) const;
};

/// The training index, with its fraction, whose noise level is `sigma`: log-linear between the table's entries.
double sigma_to_timestep(double sigma, const std::vector<float>& sigma_table);

/// Levels and the final one, rounded to float32, as a tensor of dtype `arithmetic`.
at::Tensor sigma_tensor(const std::vector<double>& levels, double final_level, at::ScalarType arithmetic);

/// float32 where `t` is in half precision, otherwise `t` itself.
at::Tensor at_least_float32(const at::Tensor& t);

}  // namespace i2i::reference
