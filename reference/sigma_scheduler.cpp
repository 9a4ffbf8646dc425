#include "reference/sigma_scheduler.h"

namespace i2i::reference {

SigmaScheduler::SigmaScheduler(SchedulerConfig& config, at::ScalarType arithmetic,
                               std::initializer_list<const char*> predictions,
                               std::initializer_list<const char*> beta_schedules)
    : arithmetic_(arithmetic),
      grid_(read_sigma_grid(config)),
      sigma_table_(make_sigmas(make_alphas_cumprod(config, false, beta_schedules))),
      num_train_timesteps_(config.integer("num_train_timesteps")),
      steps_offset_(config.integer("steps_offset")),
      timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
      prediction_type_(config.one_of("prediction_type", predictions)) {}

SigmaScheduler::Grid SigmaScheduler::lay_out(int num_inference_steps, bool float32_timesteps) const {
  Grid grid;
  grid.timesteps = spaced_timesteps(timestep_spacing_, num_train_timesteps_, num_inference_steps, steps_offset_);
  for (auto& t : grid.timesteps) {
    if (float32_timesteps) t = static_cast<float>(t);  // fractions are kept
    grid.levels.push_back(interpolate(sigma_table_, t));
  }
  if (grid_ != SigmaGrid::kTable) {
    grid.levels = spaced_sigmas(grid_, grid.levels.front(), grid.levels.back(), num_inference_steps);
    grid.timesteps.clear();
    for (const double sigma : grid.levels) grid.timesteps.push_back(sigma_to_timestep(sigma, sigma_table_));
  }
  return grid;
}

at::Tensor SigmaScheduler::init_noise_sigma() const {
  const auto largest = sigmas_.max();
  return timestep_spacing_ == "leading" ? (largest.square() + 1).sqrt() : largest;
}

at::Tensor SigmaScheduler::pred_original_sample(const at::Tensor& m, const at::Tensor& sigma,
                                                const at::Tensor& x) const {
  if (prediction_type_ == "sample") return m;
  if (prediction_type_ == "epsilon") return x - sigma * m;
  return m * (-sigma / (sigma.square() + 1).sqrt()) + x / (sigma.square() + 1);
}

at::Tensor doubled(const std::vector<double>& levels) {
  const auto all = sigma_tensor(levels, 0, at::kFloat);
  return at::cat({all.slice(0, 0, 1), all.slice(0, 1, -1).repeat_interleave(2), all.slice(0, -1)});
}

}  // namespace i2i::reference
