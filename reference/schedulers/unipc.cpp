// UniPC: Zhao, Bai, Rao, Zhou, Lu, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion
// Models", 2023, arXiv:2302.04867, algorithms 1 and 2 with B1(h) = h and B2(h) = exp(h) - 1, orders 1 to 3. The
// corrector needs no evaluation of its own: it redoes the last step with the output that this step has brought.
#include <algorithm>

#include "interface/error.h"
#include "reference/solver_scheduler.h"

namespace i2i::reference {
namespace {

class UniPCScheduler final : public SolverScheduler {
 public:
  UniPCScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SolverScheduler(config, arithmetic, config.boolean("rescale_betas_zero_snr"), false),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        final_sigma_is_zero_(config.one_of("final_sigmas_type", {"zero", "sigma_min"}) == "zero"),
        solver_order_(config.integer("solver_order")),
        predict_x0_(config.boolean("predict_x0")),
        // Names of other solvers' kinds mean "bh2" to diffusers when a configuration is carried over.
        bh1_(config.one_of("solver_type", {"bh2", "bh1", "midpoint", "heun", "logrho"}) == "bh1"),
        lower_order_final_(config.boolean("lower_order_final")),
        uncorrected_(config.numbers_or_none("disable_corrector")) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    sigma_min_ = config.number_or("sigma_min", -1);
    sigma_max_ = config.number_or("sigma_max", -1);
    config.only("solver_p", nullptr);
    config.only("shift_terminal", nullptr);
    const bool needs_a_last_level = bh1_ || !predict_x0_ || (!lower_order_final_ && solver_order_ > 1);
    if (final_sigma_is_zero_ && needs_a_last_level) {
      throw Error(ErrorCode::kUsage, config.scheduler_name() +
                                         ": final_sigmas_type zero is not finite with solver_type bh1, predict_x0 "
                                         "false or lower_order_final false; sigma_min is");
    }
  }

  void set_timesteps(int num_inference_steps) override {
    lay_out(spaced(timestep_spacing_, num_inference_steps, steps_offset_, num_train_timesteps_), num_inference_steps,
            grid_ == SigmaGrid::kKarras, final_sigma_is_zero_, true);
    history_.clear();
    order_ = 0;
  }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample,
                  const at::Tensor& /*noise*/) override {
    const auto output = predict_x0_ ? pred_original_sample(m, step, sample) : pred_epsilon(m, step, sample, false);
    const bool corrects = !history_.empty() &&
                          std::find(uncorrected_.begin(), uncorrected_.end(), double(step) - 1) == uncorrected_.end();
    const auto x = corrects ? update(last_sample_, step - 1, output) : sample;

    history_.push_back(output);
    if (history_.size() > static_cast<std::size_t>(solver_order_)) history_.erase(history_.begin());
    order_ = history_.size();
    if (lower_order_final_) order_ = std::min(order_, timesteps_.size() - step);
    last_sample_ = x;
    return update(x, step, {});
  }

 private:
  /// From x at entry `step` to the next one, with the history that ends at `step`: UniP, or UniC where `output` of the
  /// next entry is given. Equations 5 to 9; r_k are the former entries' distances in lambda over h.
  at::Tensor update(const at::Tensor& x, std::size_t step, const at::Tensor& output) const {
    const auto now = level(step), next = level(step + 1);
    const auto h = next.l - now.l, hh = predict_x0_ ? -h : h;
    const auto& m0 = history_.back();
    std::vector<at::Tensor> ratios, differences;
    for (std::size_t k = 1; k < order_; ++k) {
      ratios.push_back((level(step - k).l - now.l) / h);
      differences.push_back((history_[history_.size() - 1 - k] - m0) / ratios.back());
    }
    ratios.push_back(at::ones({}, h.options()));
    const auto phi_1 = at::expm1(hh), scale = bh1_ ? hh : phi_1;

    const auto unknowns = order_ - (output.defined() ? 0 : 1);
    at::Tensor weights;
    if (unknowns == 1) {
      weights = at::full({1}, 0.5, h.options());  // the paper's choice for one unknown (appendix F)
    } else if (unknowns > 1) {
      weights = solve(at::stack(ratios), hh, phi_1, scale, static_cast<std::int64_t>(unknowns));
    }
    auto correction = at::zeros_like(m0);
    for (std::size_t k = 0; k < differences.size(); ++k) {
      correction = correction + weights[static_cast<std::int64_t>(k)] * differences[k];
    }
    if (output.defined()) correction = correction + weights[-1] * (output - m0);
    const auto& unit = predict_x0_ ? next.a : next.s;
    const auto keep = predict_x0_ ? next.s / now.s : next.a / now.a;
    return (keep * x - unit * phi_1 * m0 - unit * scale * correction).to(x.scalar_type());
  }

  /// The weights rho of equation 8: the Vandermonde system of the ratios against the phi functions of h.
  static at::Tensor solve(const at::Tensor& ratios, const at::Tensor& hh, const at::Tensor& phi_1,
                          const at::Tensor& scale, std::int64_t unknowns) {
    std::vector<at::Tensor> rows, right;
    auto phi = phi_1 / hh - 1;
    double factorial = 1;
    for (std::int64_t i = 1; i <= unknowns; ++i) {
      rows.push_back(ratios.pow(i - 1).slice(0, 0, unknowns));
      right.push_back(phi * factorial / scale);
      factorial *= double(i + 1);
      phi = phi / hh - 1 / factorial;
    }
    return at::linalg_solve(at::stack(rows), at::stack(right));
  }

  int steps_offset_;
  std::string timestep_spacing_;
  bool final_sigma_is_zero_;
  int solver_order_;
  bool predict_x0_;
  bool bh1_;
  bool lower_order_final_;
  std::vector<double> uncorrected_;  // steps that no corrector follows
  std::vector<at::Tensor> history_;  // the model's outputs of the last steps, oldest first
  at::Tensor last_sample_;           // after its correction
  std::size_t order_ = 0;            // of the last predictor, which the corrector shares
};

}  // namespace

std::unique_ptr<Scheduler> make_unipc(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<UniPCScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
