#include "reference/edm_scheduler.h"

#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "interface/one_rounding.h"

namespace i2i::reference {

EdmScheduler::EdmScheduler(SchedulerConfig& config, at::ScalarType arithmetic, bool float32_levels)
    : arithmetic_(arithmetic),
      final_sigma_is_zero_(config.one_of("final_sigmas_type", {"zero", "sigma_min"}) == "zero"),
      levels_in_(float32_levels ? at::kFloat : at::kDouble),
      sigma_min_(config.number("sigma_min")),
      sigma_max_(config.number("sigma_max")),
      sigma_data_(config.number("sigma_data")),
      rho_(config.number("rho")),
      karras_(config.one_of("sigma_schedule", {"karras", "exponential"}) == "karras"),
      v_prediction_(config.one_of("prediction_type", {"epsilon", "v_prediction"}) == "v_prediction") {
  if (!(sigma_min_ > 0 && sigma_min_ < sigma_max_)) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: sigma_min {} and sigma_max {} are not 0 < sigma_min < sigma_max",
                                               config.scheduler_name(), sigma_min_, sigma_max_));
  }
  config.without_effect({"num_train_timesteps"});  // levels are laid out anew for every count of steps
}

void EdmScheduler::lay_out(int num_inference_steps, bool exact_final) {
  at::Tensor levels;
  if (karras_) {  // equation 5
    const double first = std::pow(sigma_max_, 1 / rho_), last = std::pow(sigma_min_, 1 / rho_);
    levels = rounded_pow(first + at::linspace(0, 1, num_inference_steps, levels_in_) * (last - first), rho_);
  } else {
    levels =
        rounded_exp(at::linspace(std::log(sigma_min_), std::log(sigma_max_), num_inference_steps, at::kFloat)).flip(0);
  }
  levels = levels.to(at::kFloat);
  const auto final_level = final_sigma_is_zero_ ? at::zeros({1})
                           : exact_final        ? at::full({1}, sigma_min_, at::kFloat)
                                                : levels.slice(0, -1);
  sigmas_ = at::cat({levels, final_level}).to(arithmetic_);
  const auto c_noise = (0.25 * rounded_log(levels)).contiguous();
  timesteps_.assign(c_noise.const_data_ptr<float>(), c_noise.const_data_ptr<float>() + c_noise.numel());
}

at::Tensor EdmScheduler::init_noise_sigma() const {
  return at::scalar_tensor(std::sqrt(sigma_max_ * sigma_max_ + 1), arithmetic_);
}

at::Tensor EdmScheduler::scale_model_input(const at::Tensor& sample, std::size_t step) const {
  return sample * (1 / (sigma_at(step).square() + sigma_data_ * sigma_data_).sqrt());
}

at::Tensor EdmScheduler::pred_original_sample(const at::Tensor& m, std::size_t step, const at::Tensor& x) const {
  const auto sigma = sigma_at(step);
  const auto sum = sigma.square() + sigma_data_ * sigma_data_;
  const auto c_out = (v_prediction_ ? -sigma : sigma) * sigma_data_ / sum.sqrt();
  return sigma_data_ * sigma_data_ / sum * x + c_out * m;
}

}  // namespace i2i::reference
