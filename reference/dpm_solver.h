// The four forms of DPM-Solver as weights of one update, for the multistep and the singlestep scheduler:
//   x' = sample * x + d0 * D0 + d1 * D1 + d2 * D2 + noise * n
// with D0 an output of the model and D1, D2 its divided differences over lambda. Lu et al. 2022, arXiv:2206.00927
// (dpmsolver, on the noise) and arXiv:2211.01095 (dpmsolver++, on x0; SDE forms in its appendix).
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "reference/scheduler.h"

namespace i2i::reference {

class DpmAlgorithm {
 public:
  /// Reads algorithm_type and final_sigmas_type. @throws Error(kUsage) for the noise forms with a final sigma of 0
  explicit DpmAlgorithm(SchedulerConfig& config, bool has_sde_dpmsolver);

  bool predicts_x0() const { return name_ == "dpmsolver++" || name_ == "sde-dpmsolver++"; }
  bool stochastic() const { return name_.starts_with("sde-"); }
  bool final_sigma_is_zero() const { return final_sigma_is_zero_; }

  struct Weights {
    at::Tensor sample, d0;
    at::Tensor d1_midpoint;  ///< the derivative taken as constant over the step
    at::Tensor d1_heun;      ///< its exact integral, also that of every third-order update
    at::Tensor d2;
    at::Tensor noise;  ///< undefined where the algorithm draws none
  };
  /// From (a, s) = (a_now, s_now) to (a, s), h apart in lambda.
  Weights weights(const at::Tensor& a_now, const at::Tensor& s_now, const at::Tensor& a, const at::Tensor& s,
                  const at::Tensor& h) const;

 private:
  std::string name_;
  bool final_sigma_is_zero_;
};

}  // namespace i2i::reference
