// Heun: algorithm 2 of Karras et al. 2022, arXiv:2206.00364, without churn: an Euler step, then the same step again
// with the mean of the slopes at both ends. Two schedule entries per step, but for the last, which is Euler's.
#include "reference/sigma_scheduler.h"

namespace i2i::reference {
namespace {

class HeunScheduler final : public SigmaScheduler {
 public:
  HeunScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SigmaScheduler(config, arithmetic, {"epsilon", "v_prediction", "sample"},
                       {"linear", "scaled_linear", "squaredcos_cap_v2", "exp"}),
        clip_sample_(config.boolean("clip_sample")),
        clip_sample_range_(config.number("clip_sample_range")) {}

  int order() const override { return 2; }

  void set_timesteps(int num_inference_steps) override {
    const auto grid = lay_out(num_inference_steps, true);
    sigmas_ = doubled(grid.levels).to(arithmetic_);
    timesteps_.clear();
    for (const double t : grid.timesteps) {
      timesteps_.insert(timesteps_.end(), timesteps_.empty() ? 1 : 2, static_cast<float>(t));
    }
  }

  /// Even entries are the Euler step, odd ones its correction.
  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& /*noise*/) override {
    const auto sigma = sigma_at(step);
    auto x0 = pred_original_sample(m, sigma, x);
    if (clip_sample_) x0 = x0.clamp(-clip_sample_range_, clip_sample_range_);
    const auto derivative = (x - x0) / sigma;
    if (step % 2 == 0) {
      first_derivative_ = derivative;
      first_sample_ = x;
      return x + derivative * (sigma_at(step + 1) - sigma);
    }
    return first_sample_ + (first_derivative_ + derivative) / 2 * (sigma - sigma_at(step - 1));
  }

 private:
  bool clip_sample_;
  double clip_sample_range_;
  at::Tensor first_derivative_, first_sample_;
};

}  // namespace

std::unique_ptr<Scheduler> make_heun(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<HeunScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
