// What LMS, Heun, DPM2, DPM2 ancestral and DPM++ SDE share: x = x0 + sigma * noise, a grid of levels taken from the
// training table at the timesteps or laid out by a formula between its ends, and what the model's output says of x0.
// Karras, Aittala, Aila, Laine 2022, arXiv:2206.00364.
#pragma once

#include <string>
#include <vector>

#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {

class SigmaScheduler : public Scheduler {
 public:
  at::Tensor sigmas() const override { return sigmas_; }

  /// The largest level; of the noised sample where the grid does not reach the first training timestep.
  at::Tensor init_noise_sigma() const override;

  at::Tensor scale_model_input(const at::Tensor& sample, std::size_t step) const override {
    return sample / (model_sigma(step).square() + 1).sqrt();
  }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    return original + noise * sigma_at(step).to(original.scalar_type());
  }

 protected:
  /// @param predictions     the prediction types that the class takes
  /// @param beta_schedules  the beta schedules that the class takes
  SigmaScheduler(SchedulerConfig& config, at::ScalarType arithmetic, std::initializer_list<const char*> predictions,
                 std::initializer_list<const char*> beta_schedules = kBetaSchedules);

  /// One timestep and one level per step, descending, in double; the final level, 0, is not among them.
  struct Grid {
    std::vector<double> timesteps, levels;
  };
  /// @param float32_timesteps  timesteps are rounded to float32 before levels are looked up
  Grid lay_out(int num_inference_steps, bool float32_timesteps) const;

  /// The level that the model is told at schedule entry `step`: that of the timestep.
  virtual at::Tensor model_sigma(std::size_t step) const { return sigma_at(step); }

  at::Tensor sigma_at(std::size_t step) const { return sigmas_[static_cast<std::int64_t>(step)]; }

  /// x0 from what the model gave for x at level sigma.
  at::Tensor pred_original_sample(const at::Tensor& m, const at::Tensor& sigma, const at::Tensor& x) const;

  at::ScalarType arithmetic_;
  SigmaGrid grid_;
  std::vector<float> sigma_table_;
  at::Tensor sigmas_;

 private:
  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
};

/// `levels` and a final 0 as float32, every one but the first and last standing twice: [2n].
at::Tensor doubled(const std::vector<double>& levels);

}  // namespace i2i::reference
