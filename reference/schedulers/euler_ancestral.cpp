// Euler ancestral: an Euler step to a level below the next one, then fresh noise up to it. Crowson, k-diffusion, 2022
// (sample_euler_ancestral); the split of the variance is DDPM's (Ho et al. 2020, arXiv:2006.11239) in sigma space, so
// on a "leading" grid the result is DDPM's to rounding.
#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class EulerAncestralScheduler final : public Scheduler {
 public:
  EulerAncestralScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : arithmetic_(arithmetic),
        num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction"})) {
    const bool zero_snr = config.boolean("rescale_betas_zero_snr");
    auto abar = make_alphas_cumprod(config, zero_snr);
    if (zero_snr) abar[-1] = 0x1p-24;  // a finite stand-in for an infinite sigma
    sigma_table_ = make_sigmas(abar);
  }

  void set_timesteps(int num_inference_steps) override {
    timesteps_ = spaced_timesteps(timestep_spacing_, num_train_timesteps_, num_inference_steps, steps_offset_);
    std::vector<double> levels;
    for (auto& t : timesteps_) {
      t = static_cast<float>(t);  // fractions are kept, in float32
      levels.push_back(interpolate(sigma_table_, t));
    }
    sigmas_ = sigma_tensor(levels, 0, arithmetic_);
  }

  at::Tensor sigmas() const override { return sigmas_; }

  at::Tensor init_noise_sigma() const override {
    const auto largest = sigmas_.max();
    return timestep_spacing_ == "leading" ? (largest.square() + 1).sqrt() : largest;
  }

  at::Tensor scale_model_input(const at::Tensor& sample, std::size_t step) const override {
    return sample / (sigma_at(step).square() + 1).sqrt();
  }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    return original + noise * sigma_at(step).to(original.scalar_type());
  }

  /// Every step, also the last, whose noise is multiplied with 0.
  bool needs_noise(std::size_t /*step*/) const override { return true; }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample, const at::Tensor& noise) override {
    const auto x = at_least_float32(sample);
    const auto sigma = sigma_at(step), sigma_next = sigma_at(step + 1);
    const auto x0 = prediction_type_ == "epsilon"
                        ? x - sigma * m
                        : m * (-sigma / (sigma.square() + 1).sqrt()) + x / (sigma.square() + 1);
    const auto sigma_up = (sigma_next.square() * (sigma.square() - sigma_next.square()) / sigma.square()).sqrt();
    const auto sigma_down = (sigma_next.square() - sigma_up.square()).sqrt();
    const auto derivative = (x - x0) / sigma;
    return (x + derivative * (sigma_down - sigma) + noise * sigma_up).to(m.scalar_type());
  }

 private:
  at::Tensor sigma_at(std::size_t step) const { return sigmas_[static_cast<std::int64_t>(step)]; }

  at::ScalarType arithmetic_;
  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  std::vector<float> sigma_table_;
  at::Tensor sigmas_;
};

}  // namespace

std::unique_ptr<Scheduler> make_euler_a(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<EulerAncestralScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
