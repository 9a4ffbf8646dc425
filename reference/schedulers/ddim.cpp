// DDIM: Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502.
#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class DdimScheduler final : public Scheduler {
 public:
  DdimScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})),
        threshold_(config),
        clip_sample_(config.boolean("clip_sample")),
        clip_sample_range_(config.number("clip_sample_range")),
        eta_(config.number_or("eta", 0)),  // an argument of diffusers' pipelines, an option here
        alphas_cumprod_(make_alphas_cumprod(config, config.boolean("rescale_betas_zero_snr")).to(arithmetic)),
        final_alpha_cumprod_(config.boolean("set_alpha_to_one") ? at::ones({}, arithmetic) : alphas_cumprod_[0]) {}

  void set_timesteps(int num_inference_steps) override {
    num_inference_steps_ = num_inference_steps;
    timesteps_ = rounded(spaced_timesteps(timestep_spacing_, num_train_timesteps_, num_inference_steps, steps_offset_));
  }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    const auto abar = alphas_cumprod_[timestep_at(step)].to(original.scalar_type());
    return abar.sqrt() * original + (1 - abar).sqrt() * noise;
  }

  bool needs_noise(std::size_t /*step*/) const override { return eta_ > 0; }

  /// Equation 12, with sigma_t of equation 16 scaled by eta: 0 is deterministic, 1 is DDPM.
  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    const auto t = timestep_at(step);
    const auto previous_t = t - num_train_timesteps_ / num_inference_steps_;  // not the list's next entry
    const auto abar = alphas_cumprod_[t];
    const auto abar_prev = previous_t >= 0 ? alphas_cumprod_[previous_t] : final_alpha_cumprod_;

    at::Tensor x0, epsilon;
    if (prediction_type_ == "epsilon") {
      x0 = (x - (1 - abar).sqrt() * m) / abar.sqrt();
      epsilon = m;
    } else if (prediction_type_ == "sample") {
      x0 = m;
      epsilon = (x - abar.sqrt() * x0) / (1 - abar).sqrt();
    } else {
      x0 = abar.sqrt() * x - (1 - abar).sqrt() * m;
      epsilon = abar.sqrt() * m + (1 - abar).sqrt() * x;
    }
    // Thresholding goes before clipping; epsilon stays as predicted.
    if (threshold_.enabled) {
      x0 = threshold_(x0);
    } else if (clip_sample_) {
      x0 = x0.clamp(-clip_sample_range_, clip_sample_range_);
    }

    const auto variance = (1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev);
    const auto std_dev = eta_ * variance.sqrt();
    const auto direction = (1 - abar_prev - std_dev.square()).sqrt() * epsilon;
    const auto prev_sample = abar_prev.sqrt() * x0 + direction;
    return eta_ > 0 ? prev_sample + std_dev * noise : prev_sample;
  }

 private:
  std::int64_t timestep_at(std::size_t step) const { return static_cast<std::int64_t>(timesteps_.at(step)); }

  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  Thresholding threshold_;
  bool clip_sample_;
  double clip_sample_range_;
  double eta_;
  at::Tensor alphas_cumprod_;
  at::Tensor final_alpha_cumprod_;
  int num_inference_steps_ = 0;
};

}  // namespace

std::unique_ptr<Scheduler> make_ddim(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DdimScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
