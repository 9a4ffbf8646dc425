#include "optimized/schedulers/edm.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "interface/error.h"
#include "interface/one_rounding.h"

namespace i2i::schedulers {

StepSchedule edm_schedule(const SchedulerSpec& spec, const ActionPlan& plan, bool float32_levels) {
  const double lowest = number(spec, "sigma_min", 0.002), highest = number(spec, "sigma_max", 80);
  if (!(lowest > 0 && lowest < highest)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: 0 < sigma_min {} < sigma_max {} does not hold", spec.name, lowest, highest));
  }
  if (prediction_of(spec) == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const double rho = number(spec, "rho", 7), data = number(spec, "sigma_data", 0.5);
  const std::string form = text(spec, "sigma_schedule", "karras"), final_type = text(spec, "final_sigmas_type", "zero");
  if (form != "karras" && form != "exponential") refuse(spec, "sigma_schedule=" + form);
  if (final_type != "zero" && final_type != "sigma_min") refuse(spec, "final_sigmas_type=" + final_type);
  const int n = plan.num_inference_steps;
  at::Tensor levels;
  if (form == "karras") {  // eq. 5
    const double first = std::pow(highest, 1 / rho), last = std::pow(lowest, 1 / rho);
    levels =
        rounded_pow(first + at::linspace(0, 1, n, float32_levels ? at::kFloat : at::kDouble) * (last - first), rho);
  } else {
    levels = rounded_exp(at::linspace(std::log(lowest), std::log(highest), n, at::kFloat)).flip(0);
  }
  levels = levels.to(at::kFloat);
  const at::Tensor told = (0.25 * rounded_log(levels)).to(at::kDouble).contiguous(),
                   wide = levels.to(at::kDouble).contiguous();
  StepSchedule schedule;
  schedule.timesteps.assign(told.const_data_ptr<double>(), told.const_data_ptr<double>() + n);
  schedule.sigmas.assign(wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + n);
  const double least = float32_levels ? static_cast<double>(static_cast<float>(lowest)) : schedule.sigmas.back();
  schedule.sigmas.push_back(final_type == "zero" ? 0 : least);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    schedule.input_scale.push_back(1 / std::sqrt(schedule.sigmas[i] * schedule.sigmas[i] + data * data));
  }
  schedule.start_sample = plan.starts_from_noise ? 0 : 1;
  schedule.start_noise = plan.starts_from_noise ? std::sqrt(highest * highest + 1) : schedule.sigmas[schedule.first];
  return schedule;
}

Linear2 edm_x0(const SchedulerSpec& spec, double sigma) {
  const double data = number(spec, "sigma_data", 0.5), sum = sigma * sigma + data * data;
  const double c_out = sigma * data / std::sqrt(sum);
  return {data * data / sum, prediction_of(spec) == Prediction::kV ? -c_out : c_out};
}

}  // namespace i2i::schedulers
