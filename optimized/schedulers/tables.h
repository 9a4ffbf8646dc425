// What the step tables of schedulers/ share: options, the training schedule, grids of timesteps and noise levels, and
// what a model's output says. Doubles throughout, rounded to float32 where diffusers' tables are.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "optimized/step_coefficients.h"

namespace i2i::schedulers {

using Values = std::vector<double>;

// ---- options ----

/// @throws Error(kUsage) "unsupported by the optimized implementation: CLASS with WHAT"
[[noreturn]] void refuse(const SchedulerSpec& spec, const std::string& what);
void refuse_flags(const SchedulerSpec& spec, std::initializer_list<const char*> keys);

/// `otherwise` where the key is absent, null or of another type.
bool flag(const SchedulerSpec& spec, const char* key);
std::string text(const SchedulerSpec& spec, const char* key, const char* otherwise);
double number(const SchedulerSpec& spec, const char* key, double otherwise);

/// @throws Error(kUsage) where the key holds anything but a list of numbers; empty where it is absent or null
Values numbers(const SchedulerSpec& spec, const char* key);

// ---- tables and grids ----

/// alphas_cumprod [N], built in float32 as checkpoints were trained with it, read as doubles.
/// @param nudge_zero  with rescale_betas_zero_snr: the last entry is 2^-24 instead of 0
Values alphas_cumprod(const SchedulerSpec& spec, bool nudge_zero);

/// The training table of noise levels sqrt((1 - abar) / abar), ascending: float32 values.
Values sigma_table(const Values& abar);

/// Descending timesteps of the spacings that DDIM, PNDM and both Eulers share.
Values spaced_timesteps(const SchedulerSpec& spec, int n, bool keep_fractions);

double half_even(double x);
Values rounded(Values values);
Values as_float32(Values values);
Values linspace(double first, double last, int count);

/// table[x], linear between entries, clamped at the ends.
double interpolate(const Values& table, double x);

/// Karras et al. 2022, arXiv:2206.00364, eq. 5, rho = 7.
Values karras_sigmas(double highest, double lowest, int n);

/// How a configuration lays its levels out; kTable: from the training table at the timesteps.
enum class SigmaGrid { kTable, kKarras, kExponential, kBeta, kLu };
/// @throws Error(kUsage) where it wants two
SigmaGrid sigma_grid(const SchedulerSpec& spec);

/// n levels of a grid that is not kTable: see karras_sigmas; even in log(sigma), also between float32 ends (Lu et al.
/// 2022, arXiv:2206.00927); at the quantiles of Beta(0.6, 0.6) (Lee et al. 2024, arXiv:2407.12173).
Values spaced_sigmas(SigmaGrid grid, double highest, double lowest, int n);

/// The fractional training index of a noise level, log-linear in the ascending table.
double sigma_to_timestep(double sigma, const Values& table);

// ---- what a model's output says ----

/// x0 = sample * x + model * m, and likewise the noise.
struct Linear2 {
  double sample, model;
};
enum class Prediction { kEpsilon, kV, kSample };

Prediction prediction_of(const SchedulerSpec& spec);

/// In the space where x = signal * x0 + noise * e with signal^2 + noise^2 = 1.
Linear2 x0_of(Prediction type, double signal, double noise);
Linear2 noise_of(Prediction type, double signal, double noise);

/// In sigma space, x = x0 + sigma * e: the model saw x / sqrt(sigma^2 + 1).
Linear2 x0_of_sigma(Prediction type, double sigma);

// ---- starts ----

/// sqrt(abar) and sqrt(1 - abar) of the first executed timestep, unless the run starts from noise alone.
void start_from_signal(StepSchedule& schedule, const ActionPlan& plan, double signal, double noise);

/// Both Eulers (euler.cpp). @param ancestral  a step to a level below the next one, then noise up to it
StepSchedule euler_schedule(const SchedulerSpec& spec, const ActionPlan& plan, bool ancestral);

}  // namespace i2i::schedulers
