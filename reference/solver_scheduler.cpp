#include "reference/solver_scheduler.h"

#include <cmath>

namespace i2i::reference {

SolverScheduler::SolverScheduler(SchedulerConfig& config, at::ScalarType arithmetic, bool zero_snr, bool has_lu_lambdas)
    : arithmetic_(arithmetic),
      num_train_timesteps_(config.integer("num_train_timesteps")),
      prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})),
      beta_schedule_(config.one_of("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2"})),
      grid_(read_sigma_grid(config, has_lu_lambdas)),
      threshold_(config),
      alphas_cumprod_(make_alphas_cumprod(config, zero_snr)) {
  if (zero_snr) alphas_cumprod_[-1] = 0x1p-24;  // a finite stand-in for an infinite sigma
  sigma_table_ = make_sigmas(alphas_cumprod_);
  config.only("use_flow_sigmas", false);
  config.only("use_dynamic_shifting", false);
  config.without_effect({"flow_shift", "time_shift_type"});
}

SolverScheduler::Level SolverScheduler::level(std::size_t step, at::ScalarType type) const {
  const auto sigma = sigmas_[static_cast<std::int64_t>(step)].to(type);
  const auto a = 1 / (sigma.square() + 1).sqrt();
  const auto s = sigma * a;
  return {a, s, a.log() - s.log()};
}

at::Tensor SolverScheduler::add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const {
  const auto [a, s, l] = level(step, original.scalar_type());
  return a * original + s * noise;
}

std::vector<double> SolverScheduler::spaced(const std::string& spacing, int n, int steps_offset,
                                            int last_timestep) const {
  std::vector<double> timesteps;
  if (spacing != "trailing") {
    timesteps = rounded(spaced_timesteps(spacing, last_timestep, n + 1, steps_offset));
    timesteps.pop_back();
    return timesteps;
  }
  // numpy.arange(last, 0, -N/n), whose increment is the difference of its first two entries
  const double stride = double(num_train_timesteps_) / n, increment = (last_timestep - stride) - last_timestep;
  const int count = static_cast<int>(std::ceil(last_timestep / stride));
  for (int i = 0; i < count; ++i) timesteps.push_back(std::nearbyint(last_timestep + i * increment) - 1);
  return timesteps;
}

int SolverScheduler::unclipped_timesteps(double lambda_min_clipped) const {
  const auto lambdas = alphas_cumprod_.sqrt().log() - (1 - alphas_cumprod_).sqrt().log();
  return num_train_timesteps_ - (lambdas < lambda_min_clipped).sum().item<int>();
}

void SolverScheduler::lay_out(const std::vector<double>& timesteps, int n, bool rounds, bool final_is_zero,
                              bool repeats_last) {
  std::vector<double> levels;
  timesteps_ = timesteps;
  if (grid_ == SigmaGrid::kTable) {
    for (const double t : timesteps_) levels.push_back(interpolate(sigma_table_, t));
  } else {
    levels = spaced_sigmas(grid_, sigma_max_ < 0 ? sigma_table_.back() : sigma_max_,
                           sigma_min_ < 0 ? sigma_table_.front() : sigma_min_, n);
    timesteps_.clear();
    for (const double sigma : levels) {
      const double t = sigma_to_timestep(sigma, sigma_table_);
      timesteps_.push_back(rounds ? std::nearbyint(t) : std::trunc(t));
    }
  }
  const bool grid_end = repeats_last && grid_ != SigmaGrid::kTable;
  sigmas_ = sigma_tensor(levels, final_is_zero ? 0 : grid_end ? levels.back() : sigma_table_.front(), arithmetic_);
}

at::Tensor SolverScheduler::pred_original_sample(const at::Tensor& m, std::size_t step, const at::Tensor& x) const {
  const auto [a, s, l] = level(step);
  const auto x0 = prediction_type_ == "sample" ? m : prediction_type_ == "epsilon" ? (x - s * m) / a : a * x - s * m;
  return threshold_.enabled ? threshold_(x0) : x0;
}

at::Tensor SolverScheduler::pred_epsilon(const at::Tensor& m, std::size_t step, const at::Tensor& x,
                                         bool thresholds) const {
  const auto [a, s, l] = level(step);
  const auto epsilon = prediction_type_ == "epsilon"  ? m
                       : prediction_type_ == "sample" ? (x - a * m) / s
                                                      : a * m + s * x;
  return thresholds && threshold_.enabled ? (x - a * threshold_((x - s * epsilon) / a)) / s : epsilon;
}

}  // namespace i2i::reference
