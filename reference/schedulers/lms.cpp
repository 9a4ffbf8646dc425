// LMS: linear multistep (Adams-Bashforth) in the noise level, over up to four derivatives. Crowson, k-diffusion, 2022
// (sample_lms); the derivative is equation 3 of Karras et al. 2022, arXiv:2206.00364.
#include <algorithm>
#include <cmath>

#include "reference/sigma_scheduler.h"

namespace i2i::reference {
namespace {

class LmsScheduler final : public SigmaScheduler {
 public:
  LmsScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : SigmaScheduler(config, arithmetic, {"epsilon", "v_prediction", "sample"}) {}

  void set_timesteps(int num_inference_steps) override {
    const auto grid = lay_out(num_inference_steps, true);
    timesteps_ = grid.timesteps;
    for (auto& t : timesteps_) t = static_cast<float>(t);
    sigmas_ = sigma_tensor(grid.levels, 0, arithmetic_);
    derivatives_.clear();
  }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& /*noise*/) override {
    const auto sigma = sigma_at(step);
    derivatives_.insert(derivatives_.begin(), (x - pred_original_sample(m, sigma, x)) / sigma);
    if (derivatives_.size() > kOrder) derivatives_.pop_back();
    // The order follows the place in the full schedule, not how many derivatives there are: started in the middle, the
    // first steps use fewer terms than their coefficients are meant for. diffusers' pictures come from that.
    const auto order = std::min(step + 1, kOrder);
    auto change = at::zeros_like(x);
    for (std::size_t k = 0; k < std::min(order, derivatives_.size()); ++k) {
      change = change + coefficient(order, step, k) * derivatives_[k];
    }
    return x + change;
  }

 private:
  static constexpr std::size_t kOrder = 4;

  /// The integral of the k-th Lagrange polynomial of the last `order` levels over this step. Its degree is at most 3,
  /// for which Gauss's two points are exact.
  double coefficient(std::size_t order, std::size_t step, std::size_t k) const {
    const auto level = [&](std::size_t i) { return sigma_at(i).item<double>(); };
    const double middle = (level(step + 1) + level(step)) / 2, half = (level(step + 1) - level(step)) / 2;
    double integral = 0;
    for (const double side : {-1.0, 1.0}) {
      const double tau = middle + side * half / std::sqrt(3.0);
      double product = 1;
      for (std::size_t j = 0; j < order; ++j) {
        if (j != k) product *= (tau - level(step - j)) / (level(step - k) - level(step - j));
      }
      integral += half * product;
    }
    return integral;
  }

  std::vector<at::Tensor> derivatives_;  // newest first
};

}  // namespace

std::unique_ptr<Scheduler> make_lms(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<LmsScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
