// LCM: Luo, Tan, Huang, Li, Zhao, "Latent Consistency Models", 2023, arXiv:2310.04378: jump to x0, then noise to the
// next timestep.
#include "reference/consistency_scheduler.h"

namespace i2i::reference {
namespace {

class LcmScheduler final : public ConsistencyScheduler {
 public:
  LcmScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : ConsistencyScheduler(config, arithmetic),
        arithmetic_(arithmetic),
        timestep_scaling_(config.number("timestep_scaling")),
        threshold_(config),
        clip_sample_(config.boolean("clip_sample")),
        clip_sample_range_(config.number("clip_sample_range")) {}

  bool needs_noise(std::size_t step) const override { return !is_last(step); }

  /// Multistep consistency sampling (algorithm 3), with the boundary condition's scalings (section 4.1).
  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& noise) override {
    auto x0 = predict(m, step, x).x0;
    if (threshold_.enabled) {
      x0 = threshold_(x0);
    } else if (clip_sample_) {
      x0 = x0.clamp(-clip_sample_range_, clip_sample_range_);
    }
    // float32 in every run, as diffusers has it: a timestep is a whole number, and so is torch's default.
    const auto scaled = at::scalar_tensor(timesteps_.at(step), at::kFloat) * timestep_scaling_;
    const auto c_skip = kSigmaData * kSigmaData / (scaled.square() + kSigmaData * kSigmaData);
    const auto c_out = scaled / (scaled.square() + kSigmaData * kSigmaData).sqrt();
    const auto denoised = c_out.to(arithmetic_) * x0 + c_skip.to(arithmetic_) * x;
    if (is_last(step)) return denoised;
    const auto abar_prev = abar_at(step + 1);
    return abar_prev.sqrt() * denoised + (1 - abar_prev).sqrt() * noise;
  }

 private:
  static constexpr double kSigmaData = 0.5;

  at::ScalarType arithmetic_;
  double timestep_scaling_;
  Thresholding threshold_;
  bool clip_sample_;
  double clip_sample_range_;
};

}  // namespace

std::unique_ptr<Scheduler> make_lcm(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<LcmScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
