// TCD: Zheng, Hu, Fan, Wang, Ding, Tao, Cham, "Trajectory Consistency Distillation", 2024, arXiv:2402.19159: jump to a
// timestep s below the next one, then noise up to it. eta, the paper's gamma, says how far below.
#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "reference/consistency_scheduler.h"

namespace i2i::reference {
namespace {

class TcdScheduler final : public ConsistencyScheduler {
 public:
  TcdScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : ConsistencyScheduler(config, arithmetic), eta_(config.number_or("eta", 0)) {
    if (!(eta_ >= 0 && eta_ <= 1)) throw Error(ErrorCode::kUsage, fmt::format("tcd: eta {} is not in [0, 1]", eta_));
    // diffusers' step reads none of these.
    config.without_effect({"clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio",
                           "sample_max_value", "timestep_scaling"});
  }

  bool needs_noise(std::size_t step) const override { return eta_ > 0 && !is_last(step); }

  /// Strategic stochastic sampling (algorithm 4).
  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    const double next = is_last(step) ? 0 : timesteps_[step + 1];
    // In float32, as torch multiplies a whole number's tensor.
    const auto s = static_cast<std::int64_t>(std::floor(static_cast<float>(1 - eta_) * static_cast<float>(next)));
    const auto [x0, epsilon] = predict(m, step, x);
    const auto abar_s = alphas_cumprod_[s];
    const auto noised = abar_s.sqrt() * x0 + (1 - abar_s).sqrt() * epsilon;
    if (!needs_noise(step)) return noised;
    const auto ratio = abar_at(step + 1) / abar_s;
    return ratio.sqrt() * noised + (1 - ratio).sqrt() * noise;
  }

 private:
  double eta_;
};

}  // namespace

std::unique_ptr<Scheduler> make_tcd(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<TcdScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
