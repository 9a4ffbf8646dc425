// What the two EDM schedulers share: the levels and the preconditioning of Karras, Aittala, Aila, Laine 2022,
// arXiv:2206.00364, for models that were trained on noise levels instead of timesteps. x here is x0 + sigma * noise.
#pragma once

#include <string>

#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {

class EdmScheduler : public Scheduler {
 public:
  at::Tensor sigmas() const override { return sigmas_; }

  at::Tensor init_noise_sigma() const override;
  at::Tensor scale_model_input(const at::Tensor& sample, std::size_t step) const override;  ///< c_in of table 1

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    return original + noise * sigma_at(step).to(original.scalar_type());
  }

 protected:
  /// @param float32_levels  levels are worked out in float32; otherwise in float64 and rounded
  EdmScheduler(SchedulerConfig& config, at::ScalarType arithmetic, bool float32_levels);

  /// Levels from sigma_max to sigma_min and a final one, timesteps 0.25 log(sigma), the paper's c_noise.
  /// @param exact_final  a final level that is not zero is sigma_min itself, otherwise the last level
  void lay_out(int num_inference_steps, bool exact_final);

  /// x0 = c_skip x + c_out m (equation 7); a model of "v_prediction" has the other sign.
  at::Tensor pred_original_sample(const at::Tensor& m, std::size_t step, const at::Tensor& x) const;

  at::Tensor sigma_at(std::size_t step) const { return sigmas_[static_cast<std::int64_t>(step)]; }

  at::ScalarType arithmetic_;
  bool final_sigma_is_zero_;
  at::Tensor sigmas_;

 private:
  at::ScalarType levels_in_;
  double sigma_min_, sigma_max_, sigma_data_, rho_;
  bool karras_;
  bool v_prediction_;
};

}  // namespace i2i::reference
