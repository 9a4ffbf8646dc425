// EDM DPM++ 2M: DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095) on the levels and with the preconditioning of Karras et
// al. 2022, arXiv:2206.00364. There x0 enters x unscaled (a = 1, s = sigma), so with l = -log(sigma) and h = l(next) -
// l(now) every update is dpm_solver_multistep.cpp's with a = 1.
#include <algorithm>

#include "reference/edm_scheduler.h"

namespace i2i::reference {
namespace {

class EdmDpmppScheduler final : public EdmScheduler {
 public:
  EdmDpmppScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : EdmScheduler(config, arithmetic, true),
        threshold_(config),
        solver_order_(config.integer("solver_order")),
        // Names of other solvers' kinds mean these to diffusers when a configuration is carried over.
        stochastic_(config.one_of("algorithm_type", {"dpmsolver++", "sde-dpmsolver++", "deis"}) == "sde-dpmsolver++"),
        heun_(config.one_of("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun"),
        lower_order_final_(config.boolean("lower_order_final")),
        euler_at_final_(config.boolean("euler_at_final")) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    if (solver_order_ == 3 && stochastic_) config.only("solver_order", 2);  // diffusers has no third order there
  }

  void set_timesteps(int num_inference_steps) override {
    lay_out(num_inference_steps, true);
    history_.clear();
  }

  /// The SDE draws every step, also the last, whose noise may be multiplied with 0.
  bool needs_noise(std::size_t /*step*/) const override { return stochastic_; }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    const auto x0 = pred_original_sample(m, step, x);
    history_.insert(history_.begin(), threshold_.enabled ? threshold_(x0) : x0);
    if (history_.size() > static_cast<std::size_t>(solver_order_)) history_.pop_back();

    const auto length = timesteps_.size();
    const bool few_steps = lower_order_final_ && length < 15;
    auto order = history_.size();
    if (step + 1 == length && (euler_at_final_ || few_steps || final_sigma_is_zero_)) order = 1;
    if (step + 2 == length && few_steps) order = std::min<std::size_t>(order, 2);
    return update(x, noise, step, order);
  }

 private:
  at::Tensor update(const at::Tensor& x, const at::Tensor& noise, std::size_t step, std::size_t order) const {
    const auto l = [&](std::size_t i) { return -sigma_at(i).log(); };
    const auto sigma = sigma_at(step), sigma_next = sigma_at(step + 1);
    const auto h = l(step + 1) - l(step);
    const auto u = stochastic_ ? 2 * h : h;  // the SDE forgets x twice as fast
    const auto k = 1 - at::exp(-u);
    const auto& x0 = history_[0];
    auto result = (stochastic_ ? sigma_next / sigma * at::exp(-h) : sigma_next / sigma) * x + k * x0;
    if (stochastic_) result = result + sigma_next * k.sqrt() * noise;
    if (order == 1) return result;

    const auto r0 = (l(step) - l(step - 1)) / h;
    const auto d1_0 = (x0 - history_[1]) / r0;
    if (order == 2) return result + (heun_ ? 1 - k / u : 0.5 * k) * d1_0;

    const auto r1 = (l(step - 1) - l(step - 2)) / h;
    const auto d2 = (d1_0 - (history_[1] - history_[2]) / r1) / (r0 + r1);
    const auto d1 = d1_0 + r0 * d2;
    return result + (1 - k / u) * d1 - ((u - k) / u.square() - 0.5) * d2;
  }

  Thresholding threshold_;
  int solver_order_;
  bool stochastic_;
  bool heun_;
  bool lower_order_final_;
  bool euler_at_final_;
  std::vector<at::Tensor> history_;  // x0 of the last steps, newest first
};

}  // namespace

std::unique_ptr<Scheduler> make_edm_dpmpp_2m(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<EdmDpmppScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
