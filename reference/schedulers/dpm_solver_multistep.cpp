// DPM-Solver and DPM-Solver++, multistep: Lu, Zhou, Bao, Chen, Li, Zhu, "DPM-Solver++: Fast Solver for Guided Sampling
// of Diffusion Probabilistic Models", 2022, arXiv:2211.01095; orders 1 to 3, as ODE and SDE, on x0 and on the noise.
#include <algorithm>

#include "reference/dpm_solver.h"
#include "reference/solver_scheduler.h"

namespace i2i::reference {
namespace {

class DpmSolverMultistepScheduler final : public SolverScheduler {
 public:
  DpmSolverMultistepScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SolverScheduler(config, arithmetic, config.boolean("rescale_betas_zero_snr"), true),
        algorithm_(config, true),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        solver_order_(config.integer("solver_order")),
        // Names of other solvers' kinds mean "midpoint" to diffusers when a configuration is carried over.
        heun_(config.one_of("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun"),
        lower_order_final_(config.boolean("lower_order_final")),
        euler_at_final_(config.boolean("euler_at_final")),
        last_timestep_(unclipped_timesteps(config.number("lambda_min_clipped"))) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    if (solver_order_ == 3 && algorithm_.stochastic() && !algorithm_.predicts_x0()) config.only("solver_order", 2);
    config.only("variance_type", nullptr);  // a learned variance comes in channels that latent models do not have
  }

  void set_timesteps(int num_inference_steps) override {
    const bool rounds =
        (grid_ == SigmaGrid::kKarras || grid_ == SigmaGrid::kLu) && beta_schedule_ != "squaredcos_cap_v2";
    lay_out(spaced(timestep_spacing_, num_inference_steps, steps_offset_, last_timestep_), num_inference_steps, rounds,
            algorithm_.final_sigma_is_zero(), false);
    history_.clear();
  }

  /// The SDE draws every step, also the last, whose noise may be multiplied with 0.
  bool needs_noise(std::size_t /*step*/) const override { return algorithm_.stochastic(); }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample, const at::Tensor& noise) override {
    history_.push_back(model_output(m, step, sample));
    if (history_.size() > static_cast<std::size_t>(solver_order_)) history_.erase(history_.begin());

    const auto length = timesteps_.size();
    const bool last = step + 1 == length, second_last = step + 2 == length;
    const bool few_steps = lower_order_final_ && length < 15;
    // As many orders as there is history, fewer where the schedule ends.
    std::size_t order = history_.size();
    if (last && (euler_at_final_ || few_steps || algorithm_.final_sigma_is_zero())) order = 1;
    if (second_last && few_steps) order = std::min<std::size_t>(order, 2);
    return update(at_least_float32(sample), noise, step, order).to(m.scalar_type());
  }

 private:
  /// x0, or the noise for the algorithms that integrate it.
  at::Tensor model_output(const at::Tensor& m, std::size_t step, const at::Tensor& x) const {
    return algorithm_.predicts_x0() ? pred_original_sample(m, step, x) : pred_epsilon(m, step, x, true);
  }

  /// One step of the given order: sections 4 and 5, algorithm 2; the third order is diffusers' with both differences.
  at::Tensor update(const at::Tensor& x, const at::Tensor& noise, std::size_t step, std::size_t order) const {
    const auto now = level(step), next = level(step + 1);
    const auto h = next.l - now.l;
    const auto w = algorithm_.weights(now.a, now.s, next.a, next.s, h);
    const auto& m0 = history_.back();
    auto result = w.sample * x + w.d0 * m0;
    if (w.noise.defined()) result = result + w.noise * noise;
    if (order == 1) return result;

    const auto& m1 = history_[history_.size() - 2];
    const auto r0 = (now.l - level(step - 1).l) / h;
    const auto d1_0 = 1 / r0 * (m0 - m1);
    if (order == 2) return result + (heun_ ? w.d1_heun : w.d1_midpoint) * d1_0;

    const auto& m2 = history_[history_.size() - 3];
    const auto r1 = (level(step - 1).l - level(step - 2).l) / h;
    const auto d1_1 = 1 / r1 * (m1 - m2);
    const auto d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1);
    const auto d2 = 1 / (r0 + r1) * (d1_0 - d1_1);
    return result + w.d1_heun * d1 + w.d2 * d2;
  }

  DpmAlgorithm algorithm_;
  int steps_offset_;
  std::string timestep_spacing_;
  int solver_order_;
  bool heun_;
  bool lower_order_final_;
  bool euler_at_final_;
  int last_timestep_;
  std::vector<at::Tensor> history_;  // the model's outputs of the last steps, oldest first
};

}  // namespace

std::unique_ptr<Scheduler> make_dpmpp_2m(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DpmSolverMultistepScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
