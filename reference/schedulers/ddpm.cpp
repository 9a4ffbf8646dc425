// DDPM: ancestral sampling of Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239. The
// variance of a step is one of their two choices, or learned beside the mean (Nichol & Dhariwal 2021,
// arXiv:2102.09672, section 3.1) by a model with twice as many output channels.
#include <fmt/format.h>

#include "interface/error.h"
#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class DdpmScheduler final : public Scheduler {
 public:
  DdpmScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})),
        // Not fixed_large_log, whose step takes the square root of a logarithm below 0 in diffusers.
        variance_type_(config.one_of("variance_type",
                                     {"fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"})),
        threshold_(config),
        clip_sample_(config.boolean("clip_sample")),
        clip_sample_range_(config.number("clip_sample_range")),
        alphas_cumprod_(make_alphas_cumprod(config, config.boolean("rescale_betas_zero_snr"),
                                            {"linear", "scaled_linear", "squaredcos_cap_v2", "laplace", "sigmoid"})
                            .to(arithmetic)) {}

  void set_timesteps(int num_inference_steps) override {
    timesteps_ = rounded(spaced_timesteps(timestep_spacing_, num_train_timesteps_, num_inference_steps, steps_offset_));
  }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    const auto abar = abar_at(step).to(original.scalar_type());
    return abar.sqrt() * original + (1 - abar).sqrt() * noise;
  }

  bool needs_noise(std::size_t step) const override { return timesteps_.at(step) > 0; }

  /// Equations 6, 7 and 11, with the list's next entry in place of t - 1.
  at::Tensor step(const at::Tensor& output, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    at::Tensor m = output, predicted_variance;
    if (variance_type_.starts_with("learned")) {
      if (output.size(1) != 2 * x.size(1)) {
        throw Error(ErrorCode::kUsage,
                    fmt::format("ddpm: variance_type {} needs a model with {} output channels, not {}", variance_type_,
                                2 * x.size(1), output.size(1)));
      }
      m = output.slice(1, 0, x.size(1));
      predicted_variance = output.slice(1, x.size(1));
    }
    const auto abar = abar_at(step);
    const bool has_next = step + 1 < timesteps_.size() && timesteps_[step + 1] >= 0;
    const auto abar_prev = has_next ? abar_at(step + 1) : at::ones_like(abar);
    const auto alpha = abar / abar_prev;
    const auto beta = 1 - alpha;

    at::Tensor x0 = m;
    if (prediction_type_ == "epsilon") x0 = (x - (1 - abar).sqrt() * m) / abar.sqrt();
    if (prediction_type_ == "v_prediction") x0 = abar.sqrt() * x - (1 - abar).sqrt() * m;
    if (threshold_.enabled) {
      x0 = threshold_(x0);
    } else if (clip_sample_) {
      x0 = x0.clamp(-clip_sample_range_, clip_sample_range_);
    }
    const auto mean = abar_prev.sqrt() * beta / (1 - abar) * x0 + alpha.sqrt() * (1 - abar_prev) / (1 - abar) * x;
    if (!needs_noise(step)) return mean;
    const auto smallest = ((1 - abar_prev) / (1 - abar) * beta).clamp_min(1e-20);
    return mean + std_dev(smallest, beta, predicted_variance) * noise;
  }

 private:
  at::Tensor std_dev(const at::Tensor& smallest, const at::Tensor& beta, const at::Tensor& predicted) const {
    if (variance_type_ == "fixed_large") return beta.sqrt();
    if (variance_type_ == "learned") return predicted.sqrt();
    if (variance_type_ == "learned_range") {  // between the two in logarithms, arXiv:2102.09672, eq. 15
      const auto share = (predicted + 1) / 2;
      return at::exp(0.5 * (share * beta.log() + (1 - share) * smallest.log()));
    }
    return smallest.sqrt();  // fixed_small_log is the same number by way of a logarithm
  }

  at::Tensor abar_at(std::size_t step) const {
    return alphas_cumprod_[static_cast<std::int64_t>(
        timesteps_.at(step))];  // -1, a trailing grid's, is the table's end
  }

  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  std::string variance_type_;
  Thresholding threshold_;
  bool clip_sample_;
  double clip_sample_range_;
  at::Tensor alphas_cumprod_;
};

}  // namespace

std::unique_ptr<Scheduler> make_ddpm(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DdpmScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
