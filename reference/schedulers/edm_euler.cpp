// EDM Euler: algorithm 2 of Karras et al. 2022, arXiv:2206.00364, first order and without churn, for models with that
// paper's preconditioning.
#include "reference/edm_scheduler.h"

namespace i2i::reference {
namespace {

class EdmEulerScheduler final : public EdmScheduler {
 public:
  EdmEulerScheduler(SchedulerConfig& config, at::ScalarType arithmetic) : EdmScheduler(config, arithmetic, false) {}

  void set_timesteps(int num_inference_steps) override { lay_out(num_inference_steps, false); }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample,
                  const at::Tensor& /*noise*/) override {
    const auto x = at_least_float32(sample);
    const auto sigma = sigma_at(step);
    const auto derivative = (x - pred_original_sample(m, step, x)) / sigma;
    return (x + derivative * (sigma_at(step + 1) - sigma)).to(m.scalar_type());
  }
};

}  // namespace

std::unique_ptr<Scheduler> make_edm_euler(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<EdmEulerScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
