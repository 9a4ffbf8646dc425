#include "reference/consistency_scheduler.h"

#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"

namespace i2i::reference {

ConsistencyScheduler::ConsistencyScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
    : scheduler_name_(config.scheduler_name()),
      alphas_cumprod_(make_alphas_cumprod(config, config.boolean("rescale_betas_zero_snr")).to(arithmetic)),
      num_train_timesteps_(config.integer("num_train_timesteps")),
      original_inference_steps_(config.integer("original_inference_steps")),
      prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})) {
  if (original_inference_steps_ < 1 || original_inference_steps_ > num_train_timesteps_) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: original_inference_steps {} is not between 1 and {}",
                                               scheduler_name_, original_inference_steps_, num_train_timesteps_));
  }
  // The grid of distillation is the only one; no step leads below timestep 0, where set_alpha_to_one would tell.
  config.without_effect({"timestep_spacing", "steps_offset", "set_alpha_to_one"});
}

void ConsistencyScheduler::set_timesteps(int num_inference_steps) {
  if (num_inference_steps > original_inference_steps_) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} steps are more than the {} of original_inference_steps",
                                               scheduler_name_, num_inference_steps, original_inference_steps_));
  }
  const int stride = num_train_timesteps_ / original_inference_steps_;
  const double skip = double(original_inference_steps_) / num_inference_steps;
  timesteps_.clear();
  for (int i = 0; i < num_inference_steps; ++i) {
    const int skipped = static_cast<int>(std::floor(i * skip));
    timesteps_.push_back((original_inference_steps_ - skipped) * stride - 1);
  }
}

ConsistencyScheduler::Prediction ConsistencyScheduler::predict(const at::Tensor& m, std::size_t step,
                                                               const at::Tensor& x) const {
  const auto abar = abar_at(step);
  if (prediction_type_ == "epsilon") return {(x - (1 - abar).sqrt() * m) / abar.sqrt(), m};
  if (prediction_type_ == "sample") return {m, (x - abar.sqrt() * m) / (1 - abar).sqrt()};
  return {abar.sqrt() * x - (1 - abar).sqrt() * m, abar.sqrt() * m + (1 - abar).sqrt() * x};
}

}  // namespace i2i::reference
