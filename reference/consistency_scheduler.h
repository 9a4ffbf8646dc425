// What LCM and TCD share: models distilled along a grid of original_inference_steps timesteps, sampled at a few of
// them.
#pragma once

#include <string>

#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {

class ConsistencyScheduler : public Scheduler {
 public:
  /// @throws Error(kUsage) for more steps than original_inference_steps
  void set_timesteps(int num_inference_steps) override;

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    const auto abar = abar_at(step).to(original.scalar_type());
    return abar.sqrt() * original + (1 - abar).sqrt() * noise;
  }

 protected:
  ConsistencyScheduler(SchedulerConfig& config, at::ScalarType arithmetic);

  struct Prediction {
    at::Tensor x0, epsilon;
  };
  Prediction predict(const at::Tensor& m, std::size_t step, const at::Tensor& x) const;

  at::Tensor abar_at(std::size_t step) const { return alphas_cumprod_[static_cast<std::int64_t>(timesteps_.at(step))]; }
  bool is_last(std::size_t step) const { return step + 1 == timesteps_.size(); }

  std::string scheduler_name_;
  at::Tensor alphas_cumprod_;

 private:
  int num_train_timesteps_;
  int original_inference_steps_;
  std::string prediction_type_;
};

}  // namespace i2i::reference
