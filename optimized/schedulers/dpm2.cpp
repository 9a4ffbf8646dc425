#include <ATen/ATen.h>

#include <cmath>

#include "interface/one_rounding.h"
#include "optimized/schedulers/levels.h"

namespace i2i::schedulers {
namespace {

Values as_values(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).contiguous();
  return Values(wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel());
}

/// Between two levels each: the middle in log sigma, the level that a step ends at before noise, and that noise.
struct Middles {
  Values middle, down, up;
};

/// In float32, as diffusers' tables are: the differences of squares lose digits.
Middles middles_of(const Values& sigmas, bool ancestral) {
  at::Tensor levels = at::tensor(sigmas, at::kDouble).to(at::kFloat);
  const at::Tensor now = levels.slice(0, 0, -1), next = levels.slice(0, 1);
  at::Tensor down = next, up = at::zeros_like(next);
  if (ancestral) {
    up = rounded_sqrt(next.square() * (now.square() - next.square()) / now.square());
    down = rounded_sqrt(next.square() - up.square());
  }
  const at::Tensor from = rounded_log(ancestral ? now : next), to = rounded_log(ancestral ? down : now);
  at::Tensor middle = rounded_exp(from.lerp(to, 0.5));
  middle[-1] = 0;  // the last step goes all the way
  return {as_values(middle), as_values(down), as_values(up)};
}

/// The midpoint method in log sigma (k-diffusion's sample_dpm_2 and sample_dpm_2_ancestral): two rows per step. The
/// first goes to the middle and remembers x; the second takes the whole step from there with the middle's slope.
StepSchedule dpm2_schedule(const SchedulerSpec& spec, const ActionPlan& plan, bool ancestral) {
  const Prediction type = prediction_of(spec);
  if (type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  Levels levels = lay_out_levels(spec, plan.num_inference_steps, true);
  if (sigma_grid(spec) == SigmaGrid::kKarras) levels.timesteps = rounded(levels.timesteps);
  Values sigmas = as_float32(levels.sigmas);
  sigmas.push_back(0);
  const Middles between = middles_of(sigmas, ancestral);

  StepSchedule schedule;
  schedule.sigmas = doubled(sigmas);
  schedule.sigmas.push_back(0);  // diffusers' list is one longer
  for (std::size_t k = 0; k < levels.timesteps.size(); ++k) {
    if (k > 0) schedule.timesteps.push_back(sigma_to_timestep(between.middle[k - 1], levels.table));
    schedule.timesteps.push_back(levels.timesteps[k]);
  }
  start_from_level(schedule, spec, plan, 2);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const std::size_t k = i / 2;
    const bool at_middle = i % 2 == 1;
    const double sigma = at_middle ? between.middle[k] : sigmas[k];
    const double step = (at_middle ? between.down[k] : between.middle[k]) - sigmas[k];
    const Linear2 slope = slope_at(type, sigma);
    StepRow row;
    row.sample = (at_middle ? 0 : 1) + step * slope.sample;
    row.noise_pred = step * slope.model;
    if (at_middle) {
      row.history[0] = 1;
      row.noise = between.up[k];
      row.draws_noise = ancestral;
    } else if (i + 1 < schedule.timesteps.size()) {
      row.remembers = true;
      row.remember_sample = 1;
    }
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  return schedule;
}

}  // namespace

StepSchedule make_dpm2(const SchedulerSpec& spec, const ActionPlan& plan) { return dpm2_schedule(spec, plan, false); }
StepSchedule make_dpm2_a(const SchedulerSpec& spec, const ActionPlan& plan) { return dpm2_schedule(spec, plan, true); }

}  // namespace i2i::schedulers
