// DPM2 and DPM2 ancestral: the midpoint method in log sigma, after algorithm 2 of Karras et al. 2022, arXiv:2206.00364,
// and DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927); Crowson, k-diffusion, 2022 (sample_dpm_2,
// sample_dpm_2_ancestral). Two schedule entries per step: to the middle between two levels, then the whole step with
// the middle's slope. The ancestral one steps below the next level and adds noise up to it. The last step is Euler's.
#include "interface/one_rounding.h"
#include "reference/sigma_scheduler.h"

namespace i2i::reference {
namespace {

class Dpm2Scheduler final : public SigmaScheduler {
 public:
  Dpm2Scheduler(SchedulerConfig& config, at::ScalarType arithmetic, bool ancestral)
      : SigmaScheduler(config, arithmetic, {"epsilon", "v_prediction"}), ancestral_(ancestral) {}

  int order() const override { return 2; }

  void set_timesteps(int num_inference_steps) override {
    auto grid = lay_out(num_inference_steps, true);
    if (grid_ == SigmaGrid::kKarras) grid.timesteps = rounded(grid.timesteps);

    // float32 throughout, as diffusers' tables are; entry n is the final level, 0.
    const auto levels = sigma_tensor(grid.levels, 0, at::kFloat);
    const auto now = levels.slice(0, 0, -1), next = levels.slice(0, 1);
    auto down = next, up = at::zeros_like(next);
    if (ancestral_) {
      up = rounded_sqrt(next.square() * (now.square() - next.square()) / now.square());
      down = rounded_sqrt(next.square() - up.square());
    }
    const auto from = rounded_log(ancestral_ ? now : next), to = rounded_log(ancestral_ ? down : now);
    auto middle = rounded_exp(from.lerp(to, 0.5));
    middle[-1] = 0;  // towards 0 there is no middle: that step goes all the way
    middle_ = middle.to(arithmetic_);
    down_ = down.to(arithmetic_);
    up_ = up.to(arithmetic_);

    const auto twice = levels.slice(0, 1).repeat_interleave(2);
    sigmas_ = at::cat({levels.slice(0, 0, 1), twice, levels.slice(0, -1)}).to(arithmetic_);
    timesteps_.clear();
    for (std::size_t i = 0; i < grid.timesteps.size(); ++i) {
      const auto between = [&] { return middle[static_cast<std::int64_t>(i) - 1].item<float>(); };
      if (i > 0) timesteps_.push_back(static_cast<float>(sigma_to_timestep(double(between()), sigma_table_)));
      timesteps_.push_back(grid.timesteps[i]);
    }
  }

  bool needs_noise(std::size_t step) const override { return ancestral_ && step % 2 == 1; }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    const auto i = static_cast<std::int64_t>(step / 2);
    const auto sigma = sigma_at(2 * (step / 2)), level = model_sigma(step);
    const auto derivative = (x - pred_original_sample(m, level, x)) / level;
    if (step % 2 == 0) {
      first_sample_ = x;
      return x + derivative * (middle_[i] - sigma);
    }
    const auto prev_sample = first_sample_ + derivative * (down_[i] - sigma);
    return ancestral_ ? prev_sample + noise * up_[i] : prev_sample;
  }

 private:
  at::Tensor model_sigma(std::size_t step) const override {
    return step % 2 == 0 ? sigma_at(step) : middle_[static_cast<std::int64_t>(step / 2)];
  }

  bool ancestral_;
  at::Tensor middle_, down_, up_;  // [n], of the step from level i to level i + 1
  at::Tensor first_sample_;
};

}  // namespace

std::unique_ptr<Scheduler> make_dpm2(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<Dpm2Scheduler>(config, arithmetic, false);
}

std::unique_ptr<Scheduler> make_dpm2_a(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<Dpm2Scheduler>(config, arithmetic, true);
}

}  // namespace i2i::reference
