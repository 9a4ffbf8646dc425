// DEIS: Zhang, Chen, "Fast Sampling of Diffusion Models with Exponential Integrator", 2022, arXiv:2204.13902; its
// multistep form with polynomials in log(rho), rho = sigma (section 3.4, "tAB-DEIS" on that scale), orders 1 to 3.
#include <algorithm>

#include "reference/solver_scheduler.h"

namespace i2i::reference {
namespace {

/// The antiderivative over rho, at `t`, of the Lagrange polynomial in log(rho) that is 1 at b and 0 at c.
at::Tensor integral(const at::Tensor& t, const at::Tensor& b, const at::Tensor& c) {
  return t * (t.log() - c.log() - 1) / (b.log() - c.log());
}

/// The same of the polynomial that is 1 at b and 0 at c and d.
at::Tensor integral(const at::Tensor& t, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d) {
  const auto lt = t.log(), lb = b.log(), lc = c.log(), ld = d.log();
  const auto numerator = t * (lc * (ld - lt + 1) - ld * lt + ld + lt.square() - 2 * lt + 2);
  return numerator / ((lb - lc) * (lb - ld));
}

class DeisScheduler final : public SolverScheduler {
 public:
  DeisScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SolverScheduler(config, arithmetic, false, false),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        solver_order_(config.integer("solver_order")),
        lower_order_final_(config.boolean("lower_order_final")) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    // There is one kind of each; other solvers' names are taken for it when a configuration is carried over.
    config.one_of("algorithm_type", {"deis", "dpmsolver", "dpmsolver++"});
    config.one_of("solver_type", {"logrho", "midpoint", "heun", "bh1", "bh2"});
  }

  void set_timesteps(int num_inference_steps) override {
    lay_out(spaced(timestep_spacing_, num_inference_steps, steps_offset_, num_train_timesteps_), num_inference_steps,
            grid_ == SigmaGrid::kKarras, false, true);
    history_.clear();
  }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& /*noise*/) override {
    const auto now = level(step), next = level(step + 1);
    history_.push_back((x - now.a * pred_original_sample(m, step, x)) / now.s);
    if (history_.size() > static_cast<std::size_t>(solver_order_)) history_.erase(history_.begin());

    const auto length = timesteps_.size();
    const bool few_steps = lower_order_final_ && length < 15;
    std::size_t order = history_.size();
    if (step + 1 == length && few_steps) order = 1;
    if (step + 2 == length && few_steps) order = std::min<std::size_t>(order, 2);

    const auto& e0 = history_.back();
    if (order == 1) return next.a / now.a * x - next.s * (at::exp(next.l - now.l) - 1) * e0;
    // In float64: these differences of integrals cancel, which costs diffusers' float32 up to 3e-5 of the trajectory.
    const auto rho = [&](std::size_t i) { return sigmas_[static_cast<std::int64_t>(i)].to(at::kDouble); };
    const auto rho_t = rho(step + 1), rho_0 = rho(step), rho_1 = rho(step - 1);
    const auto& e1 = history_[history_.size() - 2];
    if (order == 2) {
      const auto c0 = integral(rho_t, rho_0, rho_1) - integral(rho_0, rho_0, rho_1);
      const auto c1 = integral(rho_t, rho_1, rho_0) - integral(rho_0, rho_1, rho_0);
      return next.a * (x / now.a + c0 * e0 + c1 * e1);
    }
    const auto rho_2 = rho(step - 2);
    const auto& e2 = history_[history_.size() - 3];
    const auto c0 = integral(rho_t, rho_0, rho_1, rho_2) - integral(rho_0, rho_0, rho_1, rho_2);
    const auto c1 = integral(rho_t, rho_1, rho_2, rho_0) - integral(rho_0, rho_1, rho_2, rho_0);
    const auto c2 = integral(rho_t, rho_2, rho_0, rho_1) - integral(rho_0, rho_2, rho_0, rho_1);
    return next.a * (x / now.a + c0 * e0 + c1 * e1 + c2 * e2);
  }

 private:
  int steps_offset_;
  std::string timestep_spacing_;
  int solver_order_;
  bool lower_order_final_;
  std::vector<at::Tensor> history_;  // the noise of the last steps, oldest first
};

}  // namespace

std::unique_ptr<Scheduler> make_deis(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DeisScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
