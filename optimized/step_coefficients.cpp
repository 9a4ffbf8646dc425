#include "optimized/step_coefficients.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "interface/error.h"

namespace i2i {
namespace {

using Json = nlohmann::json;
using Values = std::vector<double>;

[[noreturn]] void refuse(const SchedulerSpec& spec, const std::string& what) {
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
void refuse_flags(const SchedulerSpec& spec, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (flag(spec, key)) refuse(spec, fmt::format("{}=true", key));
  }
}

// ---- tables and grids ----

/// alphas_cumprod, built in float32 as checkpoints were trained with it, read as doubles.
Values alphas_cumprod(const SchedulerSpec& spec, bool nudge_zero) {
  const auto steps = static_cast<std::int64_t>(number(spec, "num_train_timesteps", 1000));
  const double start = number(spec, "beta_start", 1e-4), end = number(spec, "beta_end", 0.02);
  const std::string schedule = text(spec, "beta_schedule", "linear");
  if (spec.config.contains("trained_betas") && !spec.config.at("trained_betas").is_null())
    refuse(spec, "trained_betas");
  at::Tensor betas;
  if (schedule == "linear") {
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
  } else {
    refuse(spec, fmt::format("beta_schedule={}", schedule));
  }
  at::Tensor cumulative = at::cumprod(1.0 - betas, 0);
  if (flag(spec, "rescale_betas_zero_snr")) {
    // Lin et al. 2023, arXiv:2305.08891, algorithm 1: the last signal rate becomes 0, the first stays.
    at::Tensor root = cumulative.sqrt();
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

/// The training table of noise levels: float32 values.
Values sigma_table(const Values& abar) {
  Values table;
  for (const double a : abar) {
    const float f = static_cast<float>(a);
    table.push_back(static_cast<double>(std::sqrt((1.0f - f) / f)));
  }
  return table;
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

/// Descending timesteps of the spacings that DDIM, PNDM and both Eulers share.
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

/// Karras et al. 2022, arXiv:2206.00364, eq. 5, rho = 7.
Values karras_sigmas(double highest, double lowest, int n) {
  Values sigmas;
  const double from = std::pow(highest, 1.0 / 7), to = std::pow(lowest, 1.0 / 7);
  for (const double ramp : linspace(0, 1, n)) sigmas.push_back(std::pow(from + ramp * (to - from), 7));
  return sigmas;
}

/// The fractional training index of a noise level, log-linear in the ascending table.
double sigma_to_timestep(double sigma, const Values& table) {
  const double wanted = std::log(std::max(sigma, 1e-10));
  std::size_t low = 0;
  while (low + 2 < table.size() && std::log(table[low + 1]) <= wanted) ++low;
  const double below = std::log(table[low]), above = std::log(table[low + 1]);
  return static_cast<double>(low) + std::clamp((below - wanted) / (below - above), 0.0, 1.0);
}

Values as_float32(Values values) {
  for (double& value : values) value = static_cast<double>(static_cast<float>(value));
  return values;
}

// ---- prediction types ----

/// What the model's output says: x0 = sample * x + model * m and likewise the noise.
struct Linear2 {
  double sample, model;
};
enum class Prediction { kEpsilon, kV, kSample };

Prediction prediction_of(const SchedulerSpec& spec) {
  const std::string type = text(spec, "prediction_type", "epsilon");
  if (type == "epsilon") return Prediction::kEpsilon;
  if (type == "v_prediction") return Prediction::kV;
  if (type == "sample") return Prediction::kSample;
  refuse(spec, fmt::format("prediction_type={}", type));
}

/// In the space where x = signal * x0 + noise * e with signal^2 + noise^2 = 1.
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
/// In sigma space, x = x0 + sigma * e: the model saw x / sqrt(sigma^2 + 1).
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

// ---- one scheduler each ----

/// Song et al. 2020, arXiv:2010.02502, eq. 12.
StepSchedule ddim(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"clip_sample", "thresholding"});
  const Values abar = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  const double eta = number(spec, "eta", 0);
  const double final_abar = flag(spec, "set_alpha_to_one") ? 1.0 : abar.front();
  const int stride = static_cast<int>(abar.size()) / plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const int t = static_cast<int>(schedule.timesteps[i]), before = t - stride;
    // The last trailing timestep may be -1, which diffusers reads from the table's end.
    const double now = abar[static_cast<std::size_t>(t < 0 ? t + static_cast<int>(abar.size()) : t)];
    const double next = before >= 0 ? abar[static_cast<std::size_t>(before)] : final_abar;
    const double spread = eta * std::sqrt((1 - next) / (1 - now) * (1 - now / next));
    const Linear2 x0 = x0_of(type, std::sqrt(now), std::sqrt(1 - now)),
                  e = noise_of(type, std::sqrt(now), std::sqrt(1 - now));
    const double to_x0 = std::sqrt(next), to_noise = std::sqrt(1 - next - spread * spread);
    StepRow row;
    row.sample = to_x0 * x0.sample + to_noise * e.sample;
    row.noise_pred = to_x0 * x0.model + to_noise * e.model;
    row.noise = spread;
    row.draws_noise = eta > 0;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  const auto first_timestep = static_cast<std::size_t>(schedule.timesteps[schedule.first]);
  if (!plan.starts_from_noise) {
    schedule.start_sample = std::sqrt(abar[first_timestep]);
    schedule.start_noise = std::sqrt(1 - abar[first_timestep]);
  }
  return schedule;
}

/// Liu et al. 2022, arXiv:2202.09778, without Runge-Kutta start, counter and repeated timestep as in semantics.md
/// section 8.
StepSchedule pndm(const SchedulerSpec& spec, const ActionPlan& plan) {
  if (!flag(spec, "skip_prk_steps")) refuse(spec, "skip_prk_steps=false");
  const Values abar = alphas_cumprod(spec, false);
  const Prediction type = prediction_of(spec);
  if (type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const double final_abar = flag(spec, "set_alpha_to_one") ? 1.0 : abar.front();
  const int stride = static_cast<int>(abar.size()) / plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = spaced_timesteps(spec, plan.num_inference_steps, false);
  if (schedule.timesteps.size() > 1) schedule.timesteps.insert(schedule.timesteps.begin() + 1, schedule.timesteps[1]);
  schedule.first = static_cast<std::size_t>(plan.t_start);

  const auto abar_at = [&](int t) { return t >= 0 ? abar[static_cast<std::size_t>(t)] : final_abar; };
  /// x at `to` from x and the combined output at `from`, eq. 9 of the paper.
  const auto transfer = [&](int from, int to) {
    const double now = abar_at(from), next = abar_at(to);
    const double rate = -(next - now) / (now * std::sqrt(1 - next) + std::sqrt(now * (1 - now) * next));
    const Linear2 e = noise_of(type, std::sqrt(now), std::sqrt(1 - now));
    return Linear2{std::sqrt(next / now) + rate * e.sample, rate * e.model};
  };
  // Adams-Bashforth weights, newest first, by the number of outputs at hand.
  constexpr double kWeights[4][4] = {{1, 0, 0, 0},
                                     {3. / 2, -1. / 2, 0, 0},
                                     {23. / 12, -16. / 12, 5. / 12, 0},
                                     {55. / 24, -59. / 24, 37. / 24, -9. / 24}};
  Linear2 first_transfer{1, 0};
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const std::size_t counter = i - schedule.first;
    const int t = static_cast<int>(schedule.timesteps[i]);
    StepRow row;
    if (counter == 1) {
      // From the first step's own sample again, with the mean of both outputs. That sample is not kept: it follows from
      // x_1 = A x_0 + B m_0, which is what the step before made.
      const Linear2 again = transfer(t + stride, t);
      row.sample = again.sample / first_transfer.sample;
      row.noise_pred = again.model / 2;
      row.history[0] = again.model / 2 - row.sample * first_transfer.model;
    } else {
      const Linear2 now = transfer(t, t - stride);
      if (counter == 0) first_transfer = now;
      const double* weights = kWeights[std::min<std::size_t>(counter == 0 ? 0 : counter - 1, 3)];
      row.sample = now.sample;
      row.noise_pred = now.model * weights[0];
      for (int k = 0; k < 3; ++k) row.history[k] = now.model * weights[k + 1];
      row.remembers = true;
      row.remember_noise_pred = 1;
    }
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  if (!plan.starts_from_noise) {
    const double first_abar = abar_at(static_cast<int>(schedule.timesteps[schedule.first]));
    schedule.start_sample = std::sqrt(first_abar);
    schedule.start_noise = std::sqrt(1 - first_abar);
  }
  return schedule;
}

/// Karras et al. 2022, arXiv:2206.00364, algorithm 1 without churn; with `ancestral` its noisy form from k-diffusion.
StepSchedule euler(const SchedulerSpec& spec, const ActionPlan& plan, bool ancestral) {
  refuse_flags(spec, {"use_exponential_sigmas", "use_beta_sigmas"});
  if (text(spec, "interpolation_type", "linear") != "linear") refuse(spec, "interpolation_type=log_linear");
  if (text(spec, "timestep_type", "discrete") != "discrete") refuse(spec, "timestep_type=continuous");
  const Values table = sigma_table(alphas_cumprod(spec, true));
  const Prediction type = prediction_of(spec);
  if (ancestral && type == Prediction::kSample) refuse(spec, "prediction_type=sample");
  const int n = plan.num_inference_steps;
  StepSchedule schedule;
  schedule.timesteps = as_float32(spaced_timesteps(spec, n, true));
  for (const double t : schedule.timesteps) schedule.sigmas.push_back(interpolate(table, t));
  if (flag(spec, "use_karras_sigmas")) {
    const double highest = number(spec, "sigma_max", schedule.sigmas.front()),
                 lowest = number(spec, "sigma_min", schedule.sigmas.back());
    schedule.sigmas = karras_sigmas(highest, lowest, n);
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) schedule.timesteps.push_back(sigma_to_timestep(sigma, table));
    schedule.timesteps = as_float32(schedule.timesteps);
  }
  const std::string final_type = text(spec, "final_sigmas_type", "zero");
  if (final_type != "zero" && final_type != "sigma_min") refuse(spec, "final_sigmas_type=" + final_type);
  schedule.sigmas.push_back(final_type == "zero" ? 0.0 : table.front());
  schedule.sigmas = as_float32(schedule.sigmas);
  schedule.first = static_cast<std::size_t>(plan.t_start);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const double sigma = schedule.sigmas[i], next = schedule.sigmas[i + 1];
    const Linear2 x0 = x0_of_sigma(type, sigma);
    StepRow row;
    double target = next;
    if (ancestral) {
      row.noise = std::sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
      row.draws_noise = true;
      target = std::sqrt(next * next - row.noise * row.noise);
    }
    const double step = (target - sigma) / sigma;  // x' = x + (x - x0) * step
    row.sample = 1 + step * (1 - x0.sample);
    row.noise_pred = -step * x0.model;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1 / std::sqrt(sigma * sigma + 1));
  }
  const double highest = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  const bool leading = text(spec, "timestep_spacing", "linspace") == "leading";
  schedule.start_sample = plan.starts_from_noise ? 0 : 1;
  schedule.start_noise = !plan.starts_from_noise ? schedule.sigmas[schedule.first]
                         : leading               ? std::sqrt(highest * highest + 1)
                                                 : highest;
  return schedule;
}

/// Lu et al. 2022, arXiv:2211.01095, DPM-Solver++ of order 1 and 2 (multistep).
StepSchedule dpmpp_2m(const SchedulerSpec& spec, const ActionPlan& plan) {
  refuse_flags(spec, {"thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas",
                      "use_dynamic_shifting"});
  const std::string algorithm = text(spec, "algorithm_type", "dpmsolver++"),
                    solver = text(spec, "solver_type", "midpoint");
  if (algorithm != "dpmsolver++") refuse(spec, "algorithm_type=" + algorithm);
  if (solver != "midpoint" && solver != "heun") refuse(spec, "solver_type=" + solver);
  const int order = static_cast<int>(number(spec, "solver_order", 2));
  if (order != 1 && order != 2) refuse(spec, fmt::format("solver_order={}", order));
  if (number(spec, "lambda_min_clipped", -1e300) > -1e100) refuse(spec, "lambda_min_clipped");
  if (!text(spec, "variance_type", "").empty()) refuse(spec, "variance_type=" + text(spec, "variance_type", ""));
  const Values table = sigma_table(alphas_cumprod(spec, true));
  const Prediction type = prediction_of(spec);
  const int n = plan.num_inference_steps, training = static_cast<int>(table.size());
  const std::string spacing = text(spec, "timestep_spacing", "linspace");

  StepSchedule schedule;
  if (spacing == "linspace") {
    schedule.timesteps = rounded(linspace(0, training - 1, n + 1));
  } else if (spacing == "leading") {
    const int ratio = training / (n + 1);
    for (int i = 0; i <= n; ++i) schedule.timesteps.push_back(i * ratio);
  }
  if (spacing == "trailing") {
    schedule.timesteps = spaced_timesteps(spec, n, false);
  } else {
    if (schedule.timesteps.empty()) refuse(spec, fmt::format("timestep_spacing={}", spacing));
    schedule.timesteps.erase(schedule.timesteps.begin());  // the grid has one point more; its end, 0, is left out
    std::reverse(schedule.timesteps.begin(), schedule.timesteps.end());
    if (spacing == "leading") {
      for (double& t : schedule.timesteps) t += number(spec, "steps_offset", 0);
    }
  }
  if (flag(spec, "use_karras_sigmas")) {
    schedule.sigmas = karras_sigmas(table.back(), table.front(), n);
    schedule.timesteps.clear();
    for (const double sigma : schedule.sigmas) {
      const double t = sigma_to_timestep(sigma, table);
      schedule.timesteps.push_back(text(spec, "beta_schedule", "") == "squaredcos_cap_v2" ? std::trunc(t)
                                                                                          : half_even(t));
    }
  } else {
    for (const double t : schedule.timesteps) schedule.sigmas.push_back(interpolate(table, t));
  }
  const std::string final_type = text(spec, "final_sigmas_type", "zero");
  if (final_type != "zero" && final_type != "sigma_min") refuse(spec, "final_sigmas_type=" + final_type);
  schedule.sigmas.push_back(final_type == "zero" ? 0.0 : table.front());
  schedule.sigmas = as_float32(schedule.sigmas);
  schedule.first = static_cast<std::size_t>(plan.t_start);

  const auto signal_of = [](double sigma) { return 1 / std::sqrt(sigma * sigma + 1); };
  const std::size_t last = schedule.timesteps.size() - 1;
  const bool lower_order_at_end = final_type == "zero" || flag(spec, "euler_at_final") ||
                                  (flag(spec, "lower_order_final") && schedule.timesteps.size() < 15);
  for (std::size_t i = schedule.first; i <= last; ++i) {
    const double sigma = schedule.sigmas[i], next = schedule.sigmas[i + 1];
    const double signal = signal_of(sigma), next_signal = signal_of(next);
    const Linear2 x0 = x0_of(type, signal, sigma * signal);
    // lambda = log(signal / noise) = -log(sigma); e^-h = next / sigma, which is 0 on the way to sigma 0.
    const double ratio = next / sigma;
    const double keep = (next * next_signal) / (sigma * signal);
    double to_x0 = -next_signal * (ratio - 1), to_difference = 0;
    const bool first_order = order == 1 || i == schedule.first || (i == last && lower_order_at_end);
    StepRow row;
    if (!first_order) {
      const double h = -std::log(ratio), before = std::log(schedule.sigmas[i - 1] / sigma);  // lambda - lambda_prev
      const double weight = solver == "midpoint" ? to_x0 / 2 : next_signal * ((ratio - 1) / h + 1);
      to_difference = weight * h / before;  // of x0 - x0_prev; D1 is that over r0 = before / h
      row.history[0] = -to_difference;
    }
    row.sample = keep + (to_x0 + to_difference) * x0.sample;
    row.noise_pred = (to_x0 + to_difference) * x0.model;
    row.remembers = order == 2;
    row.remember_sample = x0.sample;
    row.remember_noise_pred = x0.model;
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
  if (!plan.starts_from_noise) {
    const double sigma = schedule.sigmas[schedule.first];
    schedule.start_sample = signal_of(sigma);
    schedule.start_noise = sigma * signal_of(sigma);
  }
  return schedule;
}

}  // namespace

StepSchedule make_step_schedule(const SchedulerSpec& spec, const ActionPlan& plan) {
  if (spec.name == "ddim") return ddim(spec, plan);
  if (spec.name == "pndm") return pndm(spec, plan);
  if (spec.name == "euler") return euler(spec, plan, false);
  if (spec.name == "euler_a") return euler(spec, plan, true);
  if (spec.name == "dpmpp_2m") return dpmpp_2m(spec, plan);
  throw Error(ErrorCode::kUsage, fmt::format("unsupported by the optimized implementation: scheduler {}", spec.name));
}

}  // namespace i2i
