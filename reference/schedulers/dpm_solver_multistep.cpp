// DPM-Solver++, multistep: Lu, Zhou, Bao, Chen, Li, Zhu, "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion
// Probabilistic Models", 2022, arXiv:2211.01095; orders 1 to 3, as ODE (dpmsolver++) and SDE (sde-dpmsolver++).
// Beyond scheduler.h's notation: a = alpha_t = 1 / sqrt(sigma^2 + 1) and s = sigma_t = sigma * a scale x0 and noise in
// x, l = lambda_t = log(a / s), h = l(next) - l(now). The final level has s = 0 and l = infinity; exp(-h) is then 0.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/noise_schedule.h"
#include "reference/scheduler.h"

namespace i2i::reference {
namespace {

class DpmSolverMultistepScheduler final : public Scheduler {
 public:
  DpmSolverMultistepScheduler(SchedulerConfig& config, at::ScalarType arithmetic)
      : arithmetic_(arithmetic),
        num_train_timesteps_(config.integer("num_train_timesteps")),
        steps_offset_(config.integer("steps_offset")),
        timestep_spacing_(config.one_of("timestep_spacing", {"leading", "linspace", "trailing"})),
        prediction_type_(config.one_of("prediction_type", {"epsilon", "v_prediction", "sample"})),
        beta_schedule_(config.one_of("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2"})),
        solver_order_(config.integer("solver_order")),
        stochastic_(config.one_of("algorithm_type", {"dpmsolver++", "sde-dpmsolver++"}) == "sde-dpmsolver++"),
        // Names of other solvers' kinds mean "midpoint" to diffusers when a configuration is carried over.
        heun_(config.one_of("solver_type", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun"),
        lower_order_final_(config.boolean("lower_order_final")),
        euler_at_final_(config.boolean("euler_at_final")),
        final_sigma_is_zero_(config.one_of("final_sigmas_type", {"zero", "sigma_min"}) == "zero"),
        use_karras_sigmas_(config.boolean("use_karras_sigmas")) {
    if (solver_order_ < 1 || solver_order_ > 3) config.only("solver_order", 2);
    const bool zero_snr = config.boolean("rescale_betas_zero_snr");
    auto abar = make_alphas_cumprod(config, zero_snr);
    if (zero_snr) abar[-1] = 0x1p-24;  // a finite stand-in for an infinite sigma
    sigma_table_ = make_sigmas(abar);
    for (const char* key : {"thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas",
                            "use_flow_sigmas", "use_dynamic_shifting"}) {
      config.only(key, false);
    }
    config.only("variance_type", nullptr);
    config.without_effect({"dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "time_shift_type"});
    config.only("lambda_min_clipped", std::numeric_limits<double>::lowest());  // JSON's minus infinity: clips nothing
  }

  void set_timesteps(int num_inference_steps) override {
    const int n = num_inference_steps;
    if (timestep_spacing_ == "trailing") {
      timesteps_ = spaced_timesteps("trailing", num_train_timesteps_, n, steps_offset_);
    } else {
      // A grid of n + 1 points whose lowest is left out.
      timesteps_ = rounded(spaced_timesteps(timestep_spacing_, num_train_timesteps_, n + 1, steps_offset_));
      timesteps_.pop_back();
    }
    std::vector<double> levels;
    if (use_karras_sigmas_) {
      levels = karras_sigmas(sigma_table_.back(), sigma_table_.front(), n);
      timesteps_.clear();
      for (const double sigma : levels) {
        const double t = sigma_to_timestep(sigma, sigma_table_);
        timesteps_.push_back(beta_schedule_ == "squaredcos_cap_v2" ? std::trunc(t) : std::nearbyint(t));
      }
    } else {
      for (const double t : timesteps_) levels.push_back(interpolate(sigma_table_, t));
    }
    sigmas_ = sigma_tensor(levels, final_sigma_is_zero_ ? 0 : sigma_table_.front(), arithmetic_);
    history_.clear();
  }

  at::Tensor sigmas() const override { return sigmas_; }

  at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const override {
    const auto [a, s, l] = level(step, original.scalar_type());
    return a * original + s * noise;
  }

  /// The SDE draws every step, also the last, whose noise is multiplied with 0.
  bool needs_noise(std::size_t /*step*/) const override { return stochastic_; }

  at::Tensor step(const at::Tensor& m, std::size_t step, const at::Tensor& sample, const at::Tensor& noise) override {
    history_.push_back(pred_original_sample(m, step, sample));
    if (history_.size() > static_cast<std::size_t>(solver_order_)) history_.erase(history_.begin());

    const auto length = timesteps_.size();
    const bool last = step + 1 == length, second_last = step + 2 == length;
    const bool few_steps = lower_order_final_ && length < 15;
    // As many orders as there is history, fewer where the schedule ends.
    std::size_t order = history_.size();
    if (last && (euler_at_final_ || few_steps || final_sigma_is_zero_)) order = 1;
    if (second_last && few_steps) order = std::min<std::size_t>(order, 2);
    return update(at_least_float32(sample), noise, step, order).to(m.scalar_type());
  }

 private:
  struct Level {
    at::Tensor a, s, l;
  };

  Level level(std::size_t step, at::ScalarType type) const {
    const auto sigma = sigmas_[static_cast<std::int64_t>(step)].to(type);
    const auto a = 1 / (sigma.square() + 1).sqrt();
    const auto s = sigma * a;
    return {a, s, a.log() - s.log()};
  }

  at::Tensor pred_original_sample(const at::Tensor& m, std::size_t step, const at::Tensor& x) const {
    if (prediction_type_ == "sample") return m;
    const auto [a, s, l] = level(step, arithmetic_);
    return prediction_type_ == "epsilon" ? (x - s * m) / a : a * x - s * m;
  }

  /// One step of the given order: sections 4 and 5, algorithm 2; the third order is diffusers' with both differences.
  /// Every update is (coefficient of x) x + c0 D0 + c1 D1 + c2 D2 (+ noise), D1 and D2 being x0's divided differences.
  at::Tensor update(const at::Tensor& x, const at::Tensor& noise, std::size_t step, std::size_t order) const {
    const auto now = level(step, arithmetic_), next = level(step + 1, arithmetic_);
    const auto h = next.l - now.l;
    const auto a = next.a;
    const auto& x0 = history_.back();
    // -k = 1 - exp(-u): u = h for the ODE, 2h for the SDE, which forgets x twice as fast and is given noise for it.
    const auto u = stochastic_ ? 2 * h : h;
    const auto k = at::exp(-u) - 1;
    auto result = (stochastic_ ? next.s / now.s * at::exp(-h) : next.s / now.s) * x - a * k * x0;
    if (stochastic_) result = result + next.s * (1 - at::exp(-2 * h)).sqrt() * noise;
    if (order == 1) return result;

    const auto& x0_1 = history_[history_.size() - 2];
    const auto h_0 = now.l - level(step - 1, arithmetic_).l;
    const auto r0 = h_0 / h;
    const auto d1_0 = 1 / r0 * (x0 - x0_1);
    if (order == 2) return heun_ ? result + a * (k / u + 1) * d1_0 : result - 0.5 * a * k * d1_0;

    const auto& x0_2 = history_[history_.size() - 3];
    const auto h_1 = level(step - 1, arithmetic_).l - level(step - 2, arithmetic_).l;
    const auto r1 = h_1 / h;
    const auto d1_1 = 1 / r1 * (x0_1 - x0_2);
    const auto d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1);
    const auto d2 = 1 / (r0 + r1) * (d1_0 - d1_1);
    // The limit of (k + u) / u^2 for small u is 1/2, so that the ODE's D2 vanishes there. The SDE's has the other sign
    // before that half in diffusers, and therefore here.
    const double half = stochastic_ ? 0.5 : -0.5;
    return result + a * (k / u + 1) * d1 - a * ((k + u) / u.square() + half) * d2;
  }

  at::ScalarType arithmetic_;
  int num_train_timesteps_;
  int steps_offset_;
  std::string timestep_spacing_;
  std::string prediction_type_;
  std::string beta_schedule_;
  int solver_order_;
  bool stochastic_;
  bool heun_;
  bool lower_order_final_;
  bool euler_at_final_;
  bool final_sigma_is_zero_;
  bool use_karras_sigmas_;
  std::vector<float> sigma_table_;
  at::Tensor sigmas_;
  std::vector<at::Tensor> history_;  // x0 of the last steps, oldest first
};

}  // namespace

std::unique_ptr<Scheduler> make_dpmpp_2m(SchedulerConfig& config, at::ScalarType arithmetic) {
  return std::make_unique<DpmSolverMultistepScheduler>(config, arithmetic);
}

}  // namespace i2i::reference
