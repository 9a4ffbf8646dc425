// Euler: the first-order deterministic sampler of Karras, Aittala, Aila, Laine, "Elucidating the Design Space of
// Diffusion-Based Generative Models", 2022, arXiv:2206.00364, algorithm 2 without churn. x here is x0 + sigma * noise.
#include <cmath>

#include "interface/one_rounding.h"
#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class EulerScheduler final : public Scheduler {
 public:
  EulerScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : arithmetic_(arithmetic),
        num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})),
        final_sigmas_type_(config.one_of("final_sigmas_type", {"zero", "sigma_min"})),
        log_linear_(config.one_of("interpolation_type", {"linear", "log_linear"}) == "log_linear"),
        // Stable Video Diffusion's: the model is told log(sigma) / 4. diffusers does so for v_prediction alone.
        continuous_(config.one_of("timestep_type", {"discrete", "continuous"}) == "continuous" &&
                    prediction_type_ == "v_prediction"),
        grid_(read_sigma_grid(config)),
        sigma_min_(config.number_or("sigma_min", -1)),
        sigma_max_(config.number_or("sigma_max", -1)) {
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
    if (log_linear_) {
      // One level more than there are timesteps, so that the last step ends at the table's lowest.
      const auto even = rounded_exp(at::linspace(std::log(sigma_table_.back()), std::log(sigma_table_.front()),
                                                 num_inference_steps + 1, at::kFloat));
      levels.assign(even.const_data_ptr<float>(), even.const_data_ptr<float>() + even.numel());
    }
    if (grid_ != SigmaGrid::kTable) {
      levels = spaced_sigmas(grid_, sigma_max_ < 0 ? levels.front() : sigma_max_,
                             sigma_min_ < 0 ? levels.back() : sigma_min_, num_inference_steps);
      timesteps_.clear();
      for (const double sigma : levels) {
        timesteps_.push_back(static_cast<float>(sigma_to_timestep(sigma, sigma_table_)));
      }
    }
    sigmas_ = sigma_tensor(levels, final_sigmas_type_ == "zero" ? 0 : sigma_table_.front(), arithmetic_);
    if (continuous_) {
      timesteps_.clear();
      for (const double sigma : levels) timesteps_.push_back(0.25f * std::log(static_cast<float>(sigma)));
    }
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

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample,
                  const at::Tensor& /*noise*/) override {
    const auto x = at_least_float32(sample);
    const auto sigma = sigma_at(step), sigma_next = sigma_at(step + 1);
    at::Tensor x0;
    if (prediction_type_ == "epsilon") {
      x0 = x - sigma * m;
    } else if (prediction_type_ == "sample") {
      x0 = m;
    } else {
      x0 = m * (-sigma / (sigma.square() + 1).sqrt()) + x / (sigma.square() + 1);
    }
    const auto derivative = (x - x0) / sigma;  // dx/dsigma, equation 3
    return (x + derivative * (sigma_next - sigma)).to(m.scalar_type());
  }

 private:
  at::Tensor sigma_at(std::size_t step) const { return sigmas_[static_cast<std::int64_t>(step)]; }

  at::ScalarType arithmetic_;
  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  std::string final_sigmas_type_;
  bool log_linear_;
  bool continuous_;
  SigmaGrid grid_;
  double sigma_min_, sigma_max_;  // of the grid; negative where the schedule's own ends are used
  std::vector<float> sigma_table_;
  at::Tensor sigmas_;
};

}  // namespace

std::unique_ptr<Scheduler> make_euler(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<EulerScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
