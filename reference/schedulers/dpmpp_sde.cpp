// DPM++ SDE: DPM-Solver++(2S) as a stochastic sampler: an ancestral step to the middle in log sigma, then the whole one
// with what the model says there. Crowson, k-diffusion, 2022 (sample_dpmpp_sde), after Lu et al. 2022,
// arXiv:2211.01095. Its noise is the increment of one Brownian path over the levels (interface/brownian_tree.h), so
// that runs with other step counts see the same path. Two schedule entries per step; the last step is Euler's.
#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "reference/sigma_scheduler.h"

namespace i2i::reference {
namespace {

class DpmppSdeScheduler final : public SigmaScheduler {
 public:
  DpmppSdeScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SigmaScheduler(config, arithmetic, {"epsilon", "v_prediction"}) {
    constexpr double kNone = -1;
    const double seed = config.number_or("noise_sampler_seed", kNone);
    if (seed < kNone || seed > 0x1p53 || seed != std::floor(seed)) {
      throw Error(ErrorCode::kUsage, fmt::format("dpmpp_sde: noise_sampler_seed {} is no seed from 0 to 2^53", seed));
    }
    if (seed != kNone) noise_sampler_seed_ = static_cast<std::uint64_t>(seed);
  }

  int order() const override { return 2; }

  void set_timesteps(int num_inference_steps) override {
    const auto grid = lay_out(num_inference_steps, false);
    float32_sigmas_ = doubled(grid.levels);
    sigmas_ = float32_sigmas_.to(arithmetic_);
    timesteps_.clear();
    for (std::size_t i = 0; i < grid.timesteps.size(); ++i) {
      if (i > 0) {
        const double t = -std::log(grid.levels[i - 1]), t_next = -std::log(grid.levels[i]);
        timesteps_.push_back(sigma_to_timestep(std::exp(-(t + (t_next - t) * 0.5)), sigma_table_));
      }
      timesteps_.push_back(grid.timesteps[i]);
    }
  }

  bool needs_noise(std::size_t step) const override { return step + 1 < timesteps_.size(); }

  std::optional<NoiseInterval> noise_interval(std::size_t step) const override {
    const auto i = static_cast<std::int64_t>(step / 2 * 2);
    auto interval = sde_interval(float32_sigmas_[i].item<float>(), float32_sigmas_[i + 1].item<float>(), step % 2 == 0);
    interval.lowest = float32_sigmas_[-2].item<float>();
    interval.highest = float32_sigmas_.max().item<float>();
    interval.seed = noise_sampler_seed_;
    return interval;
  }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    const auto x0 = pred_original_sample(m, model_sigma(step), x);
    if (step + 1 == timesteps_.size()) {
      const auto sigma = sigma_at(step);
      return x + (x - x0) / sigma * (sigma_at(step + 1) - sigma);
    }
    if (step % 2 == 0) first_sample_ = x;
    const auto [t, t_target] = times(sigmas_, step);
    const auto from = t.neg().exp(), to = t_target.neg().exp();
    const auto up = at::minimum(to, (to.square() * (from.square() - to.square()) / from.square()).sqrt());
    const auto t_down = (to.square() - up.square()).sqrt().log().neg();
    return t_down.neg().exp() / from * first_sample_ - (t - t_down).expm1() * x0 + noise * up;
  }

 private:
  at::Tensor model_sigma(std::size_t step) const override {
    return step % 2 == 0 ? sigma_at(step) : times(sigmas_, step - 1).second.neg().exp();
  }

  /// -log sigma where the step that `step` belongs to starts, and where this entry goes: its middle, then its end.
  static std::pair<at::Tensor, at::Tensor> times(const at::Tensor& sigmas, std::size_t step) {
    const auto i = static_cast<std::int64_t>(step / 2 * 2);
    const auto t = sigmas[i].log().neg(), t_next = sigmas[i + 1].log().neg();
    return {t, step % 2 == 0 ? t + (t_next - t) * 0.5 : t_next};
  }

  std::optional<std::uint64_t> noise_sampler_seed_;
  at::Tensor float32_sigmas_;
  at::Tensor first_sample_;
};

}  // namespace

std::unique_ptr<Scheduler> make_dpmpp_sde(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DpmppSdeScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
