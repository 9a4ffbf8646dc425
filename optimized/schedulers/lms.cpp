#include <algorithm>
#include <cmath>

#include "optimized/schedulers/levels.h"

namespace i2i::schedulers {
namespace {

/// The weight of the k-th newest slope: the integral of its Lagrange polynomial over this step. The polynomial's degree
/// is at most 3, so Simpson's rule is exact.
double weight(const Values& sigmas, std::size_t step, std::size_t order, std::size_t k) {
  const auto polynomial = [&](double sigma) {
    double product = 1;
    for (std::size_t j = 0; j < order; ++j) {
      if (j != k) product *= (sigma - sigmas[step - j]) / (sigmas[step - k] - sigmas[step - j]);
    }
    return product;
  };
  const double from = sigmas[step], to = sigmas[step + 1];
  return (to - from) / 6 * (polynomial(from) + 4 * polynomial((from + to) / 2) + polynomial(to));
}

}  // namespace

/// Linear multistep in the level (k-diffusion's sample_lms). The order follows the place in the full schedule; a start
/// in the middle has fewer slopes than that, and diffusers leaves those terms out.
StepSchedule make_lms(const SchedulerSpec& spec, const ActionPlan& plan) {
  const Prediction type = prediction_of(spec);
  const Levels levels = lay_out_levels(spec, plan.num_inference_steps, true);
  StepSchedule schedule;
  schedule.timesteps = as_float32(levels.timesteps);
  schedule.sigmas = as_float32(levels.sigmas);
  schedule.sigmas.push_back(0);
  start_from_level(schedule, spec, plan, 1);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const double sigma = schedule.sigmas[i];
    const Linear2 slope = slope_at(type, sigma);
    const std::size_t order = std::min<std::size_t>(i + 1, 4);
    StepRow row;
    const double newest = weight(schedule.sigmas, i, order, 0);
    row.sample = 1 + newest * slope.sample;
    row.noise_pred = newest * slope.model;
    for (std::size_t k = 1; k < std::min(order, i - schedule.first + 1); ++k) {
      row.history[k - 1] = weight(schedule.sigmas, i, order, k);
    }
    row.remembers = true;
    row.remember_sample = slope.sample;
    row.remember_noise_pred = slope.model;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  return schedule;
}

}  // namespace i2i::schedulers
