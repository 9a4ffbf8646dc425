// DPM-Solver and DPM-Solver++, singlestep: Lu et al. 2022, arXiv:2206.00927, algorithms 1 and 2, and arXiv:2211.01095.
// Steps come in groups of solver_order: first, second, third order, each from the group's first sample.
#include <algorithm>

#include "reference/dpm_solver.h"
#include "reference/solver_scheduler.h"

namespace i2i::reference {
namespace {

class DpmSolverSinglestepScheduler final : public SolverScheduler {
 public:
  DpmSolverSinglestepScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SolverScheduler(config, arithmetic, false, false),
        algorithm_(config, false),
        solver_order_(config.integer("solver_order")),
        heun_(config.one_of("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun"),
        lower_order_final_(config.boolean("lower_order_final")),
        last_timestep_(unclipped_timesteps(config.number("lambda_min_clipped"))) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    config.only("variance_type", nullptr);  // a learned variance comes in channels that latent models do not have
  }

  void set_timesteps(int num_inference_steps) override {
    lay_out(spaced("linspace", num_inference_steps, 0, last_timestep_), num_inference_steps,
            grid_ == SigmaGrid::kKarras, algorithm_.final_sigma_is_zero(), false);
    orders_ = orders(num_inference_steps);
    history_.clear();
  }

  bool needs_noise(std::size_t /*step*/) const override { return algorithm_.stochastic(); }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample, const at::Tensor& noise) override {
    history_.push_back(model_output(m, step, sample));
    if (history_.size() > 3) history_.erase(history_.begin());
    // A run that starts within a group has no outputs before it.
    const auto order = std::min(orders_.at(step), history_.size());
    if (order == 1) group_sample_ = sample;
    return update(noise, step, order);
  }

 private:
  /// The order of each step. What does not fill a group ends lower, and so does every schedule that ends at 0.
  std::vector<std::size_t> orders(int n) const {
    const auto group = static_cast<std::size_t>(solver_order_);
    const auto count = static_cast<std::size_t>(n);
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(i % group + 1);
    const bool lower = lower_order_final_ || count % group != 0 || algorithm_.final_sigma_is_zero();
    if (lower && count % group == 0 && group > 1) all.back() = 1;
    if (algorithm_.final_sigma_is_zero()) all.back() = 1;
    return all;
  }

  at::Tensor model_output(const at::Tensor& m, std::size_t step, const at::Tensor& x) const {
    return algorithm_.predicts_x0() ? pred_original_sample(m, step, x) : pred_epsilon(m, step, x, true);
  }

  at::Tensor update(const at::Tensor& noise, std::size_t step, std::size_t order) const {
    const auto start = level(step + 1 - order), next = level(step + 1);
    const auto h = next.l - start.l;
    const auto w = algorithm_.weights(start.a, start.s, next.a, next.s, h);
    const auto& m_start = history_[history_.size() - order];
    auto result = w.sample * group_sample_ + w.d0 * m_start;
    if (w.noise.defined()) result = result + w.noise * noise;
    if (order == 1) return result;

    const auto r0 = (level(step).l - start.l) / h;
    const auto d1_0 = 1 / r0 * (history_.back() - m_start);
    if (order == 2) return result + (heun_ ? w.d1_heun : w.d1_midpoint) * d1_0;

    if (!heun_) return result + w.d1_heun * d1_0;
    const auto r1 = (level(step - 1).l - start.l) / h;
    const auto d1_1 = 1 / r1 * (history_[history_.size() - 2] - m_start);
    const auto d1 = (r0 * d1_1 - r1 * d1_0) / (r0 - r1);
    const auto d2 = 2 * (d1_0 - d1_1) / (r0 - r1);
    return result + w.d1_heun * d1 + w.d2 * d2;
  }

  DpmAlgorithm algorithm_;
  int solver_order_;
  bool heun_;
  bool lower_order_final_;
  int last_timestep_;
  std::vector<std::size_t> orders_;
  std::vector<at::Tensor> history_;  // the model's outputs of the last steps, oldest first
  at::Tensor group_sample_;
};

}  // namespace

std::unique_ptr<Scheduler> make_dpmpp_2s(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DpmSolverSinglestepScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
