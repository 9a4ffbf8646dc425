#include "optimized/schedulers/tables.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "interface/beta_quantile.h"
#include "interface/error.h"
#include "interface/one_rounding.h"

namespace i2i::schedulers {

void refuse(const SchedulerSpec& spec, const std::string& what) {
  throw Error(ErrorCode::kUsage,
              fmt::format("unsupported by the optimized implementation: {} with {}", spec.class_name, what));
}

bool flag(const SchedulerSpec& spec, const char* key) {
  return spec.config.contains(key) && spec.config.at(key) == true;
}
std::string text(const SchedulerSpec& spec, const char* key, const char* otherwise) {
  return spec.config.contains(key) && spec.config.at(key).is_string() ? spec.config.at(key).get<std::string>()
                                                                      : otherwise;
}
double number(const SchedulerSpec& spec, const char* key, double otherwise) {
  return spec.config.contains(key) && spec.config.at(key).is_number() ? spec.config.at(key).get<double>() : otherwise;
}
Values numbers(const SchedulerSpec& spec, const char* key) {
  if (!spec.config.contains(key) || spec.config.at(key).is_null()) return {};
  const auto& list = spec.config.at(key);
  const auto is_number = [](const auto& one) { return one.is_number(); };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_number)) {
    refuse(spec, fmt::format("{} that is not a list of numbers", key));
  }
  return list.get<Values>();
}
void refuse_flags(const SchedulerSpec& spec, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (flag(spec, key)) refuse(spec, fmt::format("{}=true", key));
  }
}

Values alphas_cumprod(const SchedulerSpec& spec, bool nudge_zero) {
  const auto steps = static_cast<std::int64_t>(number(spec, "num_train_timesteps", 1000));
  const double start = number(spec, "beta_start", 1e-4), end = number(spec, "beta_end", 0.02);
  const std::string schedule = text(spec, "beta_schedule", "linear");
  at::Tensor betas;
  if (spec.config.contains("trained_betas") && !spec.config.at("trained_betas").is_null()) {
    const auto trained = numbers(spec, "trained_betas");
    if (trained.size() != static_cast<std::size_t>(steps)) {
      refuse(spec, fmt::format("{} trained_betas and num_train_timesteps={}", trained.size(), steps));
    }
    betas = at::tensor(trained, at::kDouble).to(at::kFloat);
  } else if (schedule == "linear") {
    betas = at::linspace(start, end, steps, at::kFloat);
  } else if (schedule == "scaled_linear") {
    betas = at::linspace(std::sqrt(start), std::sqrt(end), steps, at::kFloat).square();
  } else if (schedule == "squaredcos_cap_v2") {  // Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17
    betas = at::empty({steps}, at::kFloat);
    const auto bar = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * M_PI / 2), 2); };
    for (std::int64_t i = 0; i < steps; ++i) {
      const double n = static_cast<double>(steps), t = static_cast<double>(i);
      betas.data_ptr<float>()[i] = static_cast<float>(std::min(1 - bar((t + 1) / n) / bar(t / n), 0.999));
    }
  } else if (schedule == "sigmoid") {
    betas = at::linspace(-6, 6, steps, at::kFloat).sigmoid() * (end - start) + start;
  } else {
    refuse(spec, fmt::format("beta_schedule={}", schedule));
  }
  at::Tensor cumulative = at::cumprod(1.0 - betas, 0);
  if (flag(spec, "rescale_betas_zero_snr")) {
    // Lin et al. 2023, arXiv:2305.08891, algorithm 1: the last signal rate becomes 0, the first stays.
    at::Tensor root = rounded_sqrt(cumulative);
    const at::Tensor first = root[0].clone(), last = root[steps - 1].clone();
    root = (root - last) * (first / (first - last));
    const at::Tensor squared = root.square();
    const at::Tensor alphas = at::cat({squared.slice(0, 0, 1), squared.slice(0, 1) / squared.slice(0, 0, -1)});
    cumulative = at::cumprod(1.0 - (1.0 - alphas), 0);
    if (nudge_zero) cumulative[steps - 1] = std::ldexp(1.0, -24);
  }
  const at::Tensor wide = cumulative.to(at::kDouble).contiguous();
  return Values(wide.data_ptr<double>(), wide.data_ptr<double>() + steps);
}

Values sigma_table(const Values& abar) {
  // In float32, as diffusers' table is: DPM++ SDE's noise depends on the last bit.
  const at::Tensor a = at::tensor(abar, at::kDouble).to(at::kFloat);
  const at::Tensor wide = rounded_sqrt((1 - a) / a).to(at::kDouble).contiguous();
  return Values(wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel());
}

double half_even(double x) { return std::nearbyint(x); }

Values linspace(double first, double last, int count) {
  Values values;
  for (int i = 0; i < count; ++i) values.push_back(count == 1 ? first : first + i * ((last - first) / (count - 1)));
  if (count > 1) values.back() = last;
  return values;
}

Values rounded(Values values) {
  for (double& value : values) value = half_even(value);
  return values;
}

Values spaced_timesteps(const SchedulerSpec& spec, int n, bool keep_fractions) {
  const int training = static_cast<int>(number(spec, "num_train_timesteps", 1000));
  const std::string spacing = text(spec, "timestep_spacing", "leading");
  const double offset = number(spec, "steps_offset", 0);
  Values values;
  if (spacing == "leading") {
    const int ratio = training / n;
    for (int i = n - 1; i >= 0; --i) values.push_back(static_cast<double>(i * ratio) + offset);
  } else if (spacing == "linspace") {
    values = linspace(0, training - 1, n);
    if (!keep_fractions) values = rounded(values);
    std::reverse(values.begin(), values.end());
  } else if (spacing == "trailing") {
    const double step = static_cast<double>(training) / n;
    const int count = static_cast<int>(std::ceil(training / step));
    for (int i = 0; i < count; ++i) values.push_back(half_even(training - i * step) - 1);
  } else {
    refuse(spec, fmt::format("timestep_spacing={}", spacing));
  }
  return values;
}

double interpolate(const Values& table, double x) {
  const double last = static_cast<double>(table.size() - 1);
  if (x <= 0) return table.front();
  if (x >= last) return table.back();
  const auto below = static_cast<std::size_t>(x);
  return table[below] + (table[below + 1] - table[below]) * (x - static_cast<double>(below));
}

Values karras_sigmas(double highest, double lowest, int n) {
  Values sigmas;
  const double from = std::pow(highest, 1.0 / 7), to = std::pow(lowest, 1.0 / 7);
  for (const double ramp : linspace(0, 1, n)) sigmas.push_back(std::pow(from + ramp * (to - from), 7));
  return sigmas;
}

SigmaGrid sigma_grid(const SchedulerSpec& spec) {
  SigmaGrid grid = SigmaGrid::kTable;
  for (const auto& [key, one] :
       {std::pair{"use_karras_sigmas", SigmaGrid::kKarras},
        std::pair{"use_exponential_sigmas", SigmaGrid::kExponential}, std::pair{"use_beta_sigmas", SigmaGrid::kBeta},
        std::pair{"use_lu_lambdas", SigmaGrid::kLu}}) {
    if (!flag(spec, key)) continue;
    if (grid != SigmaGrid::kTable) refuse(spec, fmt::format("{} and another grid of levels", key));
    grid = one;
  }
  return grid;
}

Values spaced_sigmas(SigmaGrid grid, double highest, double lowest, int n) {
  if (grid == SigmaGrid::kKarras) return karras_sigmas(highest, lowest, n);
  Values sigmas;
  if (grid == SigmaGrid::kBeta) {
    for (const double ramp : linspace(0, 1, n)) {
      sigmas.push_back(lowest + beta_quantile(1 - ramp, 0.6, 0.6) * (highest - lowest));
    }
    return sigmas;
  }
  // Even in log(sigma); Lu's lambdas are so too, between ends that are rounded to float32.
  double from = std::log(highest), to = std::log(lowest);
  if (grid == SigmaGrid::kLu) {
    from = std::log(static_cast<float>(highest));
    to = std::log(static_cast<float>(lowest));
  }
  for (const double log_sigma : linspace(from, to, n)) sigmas.push_back(std::exp(log_sigma));
  return sigmas;
}

double sigma_to_timestep(double sigma, const Values& table) {
  const double wanted = std::log(std::max(sigma, 1e-10));
  // float32 logarithms, as diffusers' table has them: grids that cut fractions off depend on their last bit.
  const auto entry = [&](std::size_t i) { return static_cast<double>(std::log(static_cast<float>(table[i]))); };
  std::size_t low = 0;
  while (low + 2 < table.size() && entry(low + 1) <= wanted) ++low;
  const double below = entry(low), above = entry(low + 1);
  return static_cast<double>(low) + std::clamp((below - wanted) / (below - above), 0.0, 1.0);
}

Values as_float32(Values values) {
  for (double& value : values) value = static_cast<double>(static_cast<float>(value));
  return values;
}

Prediction prediction_of(const SchedulerSpec& spec) {
  const std::string type = text(spec, "prediction_type", "epsilon");
  if (type == "epsilon") return Prediction::kEpsilon;
  if (type == "v_prediction") return Prediction::kV;
  if (type == "sample") return Prediction::kSample;
  refuse(spec, fmt::format("prediction_type={}", type));
}

Linear2 x0_of(Prediction type, double signal, double noise) {
  switch (type) {
    case Prediction::kEpsilon:
      return {1 / signal, -noise / signal};
    case Prediction::kV:
      return {signal, -noise};
    case Prediction::kSample:
      break;
  }
  return {0, 1};
}
Linear2 noise_of(Prediction type, double signal, double noise) {
  switch (type) {
    case Prediction::kEpsilon:
      return {0, 1};
    case Prediction::kV:
      return {noise, signal};
    case Prediction::kSample:
      break;
  }
  return {1 / noise, -signal / noise};
}
Linear2 x0_of_sigma(Prediction type, double sigma) {
  const double square = sigma * sigma + 1;
  switch (type) {
    case Prediction::kEpsilon:
      return {1, -sigma};
    case Prediction::kV:
      return {1 / square, -sigma / std::sqrt(square)};
    case Prediction::kSample:
      break;
  }
  return {0, 1};
}

void start_from_signal(StepSchedule& schedule, const ActionPlan& plan, double signal, double noise) {
  if (plan.starts_from_noise) return;
  schedule.start_sample = signal;
  schedule.start_noise = noise;
}

}  // namespace i2i::schedulers
