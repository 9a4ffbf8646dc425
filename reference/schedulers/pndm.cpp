// PNDM: Liu, Ren, Lin, Zhao, "Pseudo Numerical Methods for Diffusion Models on Manifolds", 2022, arXiv:2202.09778.
// With skip_prk_steps (Stable Diffusion's setting) it is linear multistep throughout, its first step done twice.
#include <fmt/format.h>

#include <algorithm>

#include "interface/error.h"
#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class PndmScheduler final : public Scheduler {
 public:
  PndmScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction"})),
        skip_prk_steps_(config.boolean("skip_prk_steps")),
        alphas_cumprod_(make_alphas_cumprod(config, false).to(arithmetic)),
        final_alpha_cumprod_(config.boolean("set_alpha_to_one") ? at::ones({}, arithmetic) : alphas_cumprod_[0]) {}

  void set_timesteps(int num_inference_steps) override {
    num_inference_steps_ = num_inference_steps;
    const auto grid =
        rounded(spaced_timesteps(timestep_spacing_, num_train_timesteps_, num_inference_steps, steps_offset_));
    timesteps_.clear();
    runge_kutta_timesteps_.clear();
    if (skip_prk_steps_) {
      // The second timestep stands twice: a step is tried, then corrected by the mean of both slopes.
      timesteps_ = grid;
      if (grid.size() > 1) timesteps_.insert(timesteps_.begin() + 1, grid[1]);
    } else {
      lay_out_runge_kutta(grid);
      timesteps_ = runge_kutta_timesteps_;
      timesteps_.insert(timesteps_.end(), grid.begin() + 3, grid.end());
    }
    outputs_.clear();
    counter_ = 0;
    runge_kutta_sum_.reset();
    kept_sample_.reset();
  }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    const auto abar = alphas_cumprod_[static_cast<std::int64_t>(timesteps_.at(step))].to(original.scalar_type());
    return abar.sqrt() * original + (1 - abar).sqrt() * noise;
  }

  // The counter runs from the first executed step, not from the schedule's: image-to-image starts in the middle of the
  // list and yet does its first step twice, at two different timesteps. diffusers' pictures come from that
  // (semantics.md section 8), so it is kept.
  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& x, const at::Tensor& /*noise*/) override {
    const auto t = static_cast<std::int64_t>(timesteps_.at(step));
    const auto prev_sample = counter_ < runge_kutta_timesteps_.size() ? step_runge_kutta(m, t, x)  //
                                                                      : step_multistep(m, t, x);
    ++counter_;
    return prev_sample;
  }

 private:
  /// Four evaluations for each of the first three steps, at t, t - r/2, t - r/2, t - r.
  void lay_out_runge_kutta(const std::vector<double>& grid) {
    if (num_inference_steps_ < 4) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("pndm: skip_prk_steps false needs at least 4 steps, not {}", num_inference_steps_));
    }
    const int half = num_train_timesteps_ / num_inference_steps_ / 2;
    for (std::size_t i = 0; i < 3; ++i) {
      const double t = grid[i], middle = grid[i + 1] + half, next = grid[i + 1];
      runge_kutta_timesteps_.insert(runge_kutta_timesteps_.end(), {t, middle, middle, next});
    }
  }

  /// Pseudo Runge-Kutta (section 3.3): slopes weighted 1/6, 1/3, 1/3, 1/6, all applied to the group's first sample.
  at::Tensor step_runge_kutta(const at::Tensor& m, std::int64_t t, const at::Tensor& x) {
    const auto stage = counter_ % 4;
    const auto previous_t = t - (stage % 2 == 1 ? 0 : num_train_timesteps_ / num_inference_steps_ / 2);
    auto slope = m;
    if (stage == 0) {
      runge_kutta_sum_ = m / 6;
      outputs_.push_back(m);
      kept_sample_ = x;
    } else if (stage < 3) {
      runge_kutta_sum_ = runge_kutta_sum_ + m / 3;
    } else {
      slope = runge_kutta_sum_ + m / 6;
    }
    const auto group_start = static_cast<std::int64_t>(runge_kutta_timesteps_[counter_ - stage]);
    return transfer(kept_sample_, group_start, previous_t, slope);
  }

  /// Pseudo linear multistep (equation 12 and its lower orders): Adams-Bashforth over the stored outputs.
  at::Tensor step_multistep(at::Tensor m, std::int64_t t, at::Tensor x) {
    const auto stride = num_train_timesteps_ / num_inference_steps_;
    auto previous_t = t - stride;
    if (counter_ == 1) {
      previous_t = t;
      t += stride;
    } else {
      if (outputs_.size() > 3) outputs_.erase(outputs_.begin());
      outputs_.push_back(m);
    }
    const auto& e = outputs_;
    const auto k = e.size();
    if (k == 1 && counter_ == 0) {
      kept_sample_ = x;
    } else if (k == 1 && counter_ == 1) {
      m = (m + e[0]) / 2;
      x = kept_sample_;
    } else if (k == 2) {
      m = (3 * e[1] - e[0]) / 2;
    } else if (k == 3) {
      m = (23 * e[2] - 16 * e[1] + 5 * e[0]) / 12;
    } else {
      m = (55 * e[3] - 59 * e[2] + 37 * e[1] - 9 * e[0]) / 24;
    }
    return transfer(x, t, previous_t, m);
  }

  /// Equation 11: x at `previous_t` from x at `t` and the noise that is believed to be in it.
  at::Tensor transfer(const at::Tensor& x, std::int64_t t, std::int64_t previous_t, const at::Tensor& m) const {
    const auto abar = alphas_cumprod_[t];
    const auto abar_prev = previous_t >= 0 ? alphas_cumprod_[previous_t] : final_alpha_cumprod_;
    const auto epsilon = prediction_type_ == "v_prediction" ? abar.sqrt() * m + (1 - abar).sqrt() * x : m;
    const auto denominator = abar * (1 - abar_prev).sqrt() + (abar * (1 - abar) * abar_prev).sqrt();
    return (abar_prev / abar).sqrt() * x - (abar_prev - abar) * epsilon / denominator;
  }

  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  bool skip_prk_steps_;
  at::Tensor alphas_cumprod_;
  at::Tensor final_alpha_cumprod_;

  int num_inference_steps_ = 0;
  std::vector<double> runge_kutta_timesteps_;  // empty with skip_prk_steps
  std::size_t counter_ = 0;
  std::vector<at::Tensor> outputs_;  // oldest first, at most four
  at::Tensor runge_kutta_sum_;
  at::Tensor kept_sample_;
};

}  // namespace

std::unique_ptr<Scheduler> make_pndm(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<PndmScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
