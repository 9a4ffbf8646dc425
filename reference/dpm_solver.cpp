#include "reference/dpm_solver.h"

#include "interface/error.h"

namespace i2i::reference {

DpmAlgorithm::DpmAlgorithm(SchedulerConfig& config, bool has_sde_dpmsolver)
    : name_(has_sde_dpmsolver
                ? config.one_of("algorithm_type",
                                {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"})
                : config.one_of("algorithm_type", {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "deis"})),
      final_sigma_is_zero_(config.one_of("final_sigmas_type", {"zero", "sigma_min"}) == "zero") {
  if (name_ == "deis") name_ = "dpmsolver++";  // another solver's kind, carried over with its configuration
  if (!predicts_x0() && final_sigma_is_zero_) {
    throw Error(ErrorCode::kUsage, config.scheduler_name() + ": algorithm_type " + name_ +
                                       " needs final_sigmas_type sigma_min, it is zero");
  }
}

DpmAlgorithm::Weights DpmAlgorithm::weights(const at::Tensor& a_now, const at::Tensor& s_now, const at::Tensor& a,
                                            const at::Tensor& s, const at::Tensor& h) const {
  Weights w;
  if (predicts_x0()) {
    const auto u = stochastic() ? 2 * h : h;
    const auto k = at::exp(-u) - 1;
    w.sample = stochastic() ? s / s_now * at::exp(-h) : s / s_now;
    w.d0 = -(a * k);
    w.d1_midpoint = -0.5 * (a * k);
    w.d1_heun = a * (k / u + 1);
    // The limit of (k + u) / u^2 for small u is 1/2, so that the ODE's D2 vanishes there. The SDE's has the other sign
    // before that half in diffusers, and therefore here.
    w.d2 = -(a * ((k + u) / u.square() + (stochastic() ? 0.5 : -0.5)));
    if (stochastic()) w.noise = s * (1 - at::exp(-2 * h)).sqrt();
  } else {
    const double twice = stochastic() ? 2 : 1;
    const auto k = at::exp(h) - 1;
    w.sample = a / a_now;
    w.d0 = -twice * (s * k);
    w.d1_midpoint = -0.5 * twice * (s * k);
    w.d1_heun = -twice * (s * (k / h - 1));
    w.d2 = -(s * ((k - h) / h.square() - 0.5));
    if (stochastic()) w.noise = s * (at::exp(2 * h) - 1).sqrt();
  }
  return w;
}

}  // namespace i2i::reference
