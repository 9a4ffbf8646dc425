// What DPM-Solver (multistep and singlestep), UniPC and DEIS share: noise levels laid out over n + 1 points, and the
// model's output as x0 or as noise. Beyond scheduler.h's notation: a = alpha_t = 1 / sqrt(sigma^2 + 1) and s = sigma_t
// = sigma * a scale x0 and noise in x, l = lambda_t = log(a / s), h = l(next) - l(now). A final level of 0 has s = 0
// and l = infinity; exp(-h) is then 0.
#pragma once

#include <string>
#include <vector>

#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {

class SolverScheduler : public Scheduler {
 public:
  at::Tensor sigmas() const override { return sigmas_; }
  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override;

 protected:
  /// Reads what all four classes read. @param has_lu_lambdas  the class knows use_lu_lambdas
  SolverScheduler(SchedulerConfig& config, at::ScalarType arithmetic, bool zero_snr, bool has_lu_lambdas);

  struct Level {
    at::Tensor a, s, l;
  };
  Level level(std::size_t step, at::ScalarType type) const;
  Level level(std::size_t step) const { return level(step, arithmetic_); }

  /// Timesteps of n steps on a grid whose lowest point is left out. @param last_timestep  where the grid ends: N, or
  /// less where lambda_min_clipped cuts it
  std::vector<double> spaced(const std::string& spacing, int n, int steps_offset, int last_timestep) const;

  /// How many training levels stay when those with lambda below lambda_min_clipped go.
  int unclipped_timesteps(double lambda_min_clipped) const;

  /// Fills timesteps_ and sigmas_: from the table at `timesteps`, or n levels of the configuration's own grid and the
  /// timesteps that belong to them, rounded or cut to whole ones.
  /// @param final_is_zero  the level after the last; otherwise it is the table's lowest, or with `repeats_last` the
  /// grid's own
  void lay_out(const std::vector<double>& timesteps, int n, bool rounds, bool final_is_zero, bool repeats_last);

  /// x0 from the model's output at schedule entry `step`, after thresholding.
  at::Tensor pred_original_sample(const at::Tensor& m, std::size_t step, const at::Tensor& x) const;
  /// The noise in x likewise. @param thresholds  whether the x0 that goes with it is thresholded
  at::Tensor pred_epsilon(const at::Tensor& m, std::size_t step, const at::Tensor& x, bool thresholds) const;

  at::ScalarType arithmetic_;
  int num_train_timesteps_;
  std::string prediction_type_;
  std::string beta_schedule_;
  SigmaGrid grid_;
  Thresholding threshold_;
  double sigma_min_ = -1, sigma_max_ = -1;  // of the grid; negative where the table's own ends are used
  at::Tensor alphas_cumprod_;
  std::vector<float> sigma_table_;
  at::Tensor sigmas_;
};

}  // namespace i2i::reference
