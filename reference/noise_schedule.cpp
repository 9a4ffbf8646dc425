#include "reference/noise_schedule.h"

#include <algorithm>
#include <cmath>

namespace i2i::reference {
namespace {

/// Betas of the cosine schedule, capped at 0.999 (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17).
at::Tensor squared_cosine_betas(int count) {
  const auto alpha_bar = [count](int i) {
    constexpr double kPi = 3.14159265358979323846;
    return std::pow(std::cos((double(i) / count + 0.008) / 1.008 * kPi / 2), 2);
  };
  std::vector<float> betas;
  for (int i = 0; i < count; ++i) {
    betas.push_back(static_cast<float>(std::min(1 - alpha_bar(i + 1) / alpha_bar(i), 0.999)));
  }
  return at::tensor(betas, at::kFloat);
}

at::Tensor make_betas(SchedulerConfig& config) {
  const int count = config.integer("num_train_timesteps");
  const double first = config.number("beta_start");
  const double last = config.number("beta_end");
  const auto shape = config.one_of("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2"});
  config.only("trained_betas", nullptr);
  if (shape == "linear") return at::linspace(first, last, count, at::kFloat);
  if (shape == "scaled_linear") return at::linspace(std::sqrt(first), std::sqrt(last), count, at::kFloat).square();
  return squared_cosine_betas(count);
}

}  // namespace

at::Tensor make_alphas_cumprod(SchedulerConfig& config, bool rescale_zero_snr) {
  const auto abar = at::cumprod(1 - make_betas(config), 0);
  if (!rescale_zero_snr) return abar;
  const auto root = abar.sqrt();
  const auto first = root[0], last = root[-1];
  const auto rescaled = ((root - last) * (first / (first - last))).square();
  // Through alphas and back, as diffusers does: the product's rounding is part of its numbers.
  const auto alphas = at::cat({rescaled.slice(0, 0, 1), rescaled.slice(0, 1) / rescaled.slice(0, 0, -1)});
  return at::cumprod(1 - (1 - alphas), 0);
}

std::vector<float> make_sigmas(const at::Tensor& alphas_cumprod) {
  const auto sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().contiguous();
  const float* first = sigmas.const_data_ptr<float>();
  return {first, first + sigmas.numel()};
}

std::vector<double> linspace(double first, double last, int count) {
  std::vector<double> values(static_cast<std::size_t>(count), first);
  const double step = count > 1 ? (last - first) / (count - 1) : 0;
  for (int i = 1; i < count; ++i) values[static_cast<std::size_t>(i)] = i * step + first;
  if (count > 1) values.back() = last;
  return values;
}

std::vector<double> spaced_timesteps(const std::string& spacing, int num_train_timesteps, int n, int steps_offset) {
  std::vector<double> timesteps;
  if (spacing == "linspace") {
    timesteps = linspace(0, num_train_timesteps - 1, n);
    std::reverse(timesteps.begin(), timesteps.end());
  } else if (spacing == "leading") {
    const int stride = num_train_timesteps / n;
    for (int i = n - 1; i >= 0; --i) timesteps.push_back(i * stride + steps_offset);
  } else {  // trailing: numpy.arange(N, 0, -N/n), whose increment is the difference of its first two entries
    const double second = num_train_timesteps - double(num_train_timesteps) / n;
    const double increment = second - num_train_timesteps;
    const int count = static_cast<int>(std::ceil(-num_train_timesteps / (-double(num_train_timesteps) / n)));
    for (int i = 0; i < count; ++i) timesteps.push_back(std::nearbyint(num_train_timesteps + i * increment) - 1);
  }
  return timesteps;
}

std::vector<double> rounded(std::vector<double> values) {
  for (auto& value : values) value = std::nearbyint(value);
  return values;
}

double interpolate(const std::vector<float>& table, double x) {
  if (x <= 0) return table.front();
  if (x >= double(table.size() - 1)) return table.back();
  const auto i = static_cast<std::size_t>(x);
  const double here = table[i], next = table[i + 1];
  return (next - here) * (x - double(i)) + here;
}

std::vector<double> karras_sigmas(double sigma_max, double sigma_min, int n) {
  constexpr double kRho = 7;
  const double first = std::pow(sigma_max, 1 / kRho), last = std::pow(sigma_min, 1 / kRho);
  std::vector<double> sigmas;
  for (const double ramp : linspace(0, 1, n)) sigmas.push_back(std::pow(first + ramp * (last - first), kRho));
  return sigmas;
}

double sigma_to_timestep(double sigma, const std::vector<float>& sigma_table) {
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  const auto log_entry = [&](std::size_t i) { return std::log(sigma_table[i]); };  // float32, as diffusers' table is
  std::size_t low = 0;  // the last entry that is not above sigma
  while (low + 2 < sigma_table.size() && double(log_entry(low + 1)) <= log_sigma) ++low;
  const double weight = (double(log_entry(low)) - log_sigma) / double(log_entry(low) - log_entry(low + 1));
  const double clamped = std::clamp(weight, 0.0, 1.0);
  return (1 - clamped) * double(low) + clamped * double(low + 1);
}

at::Tensor sigma_tensor(const std::vector<double>& levels, double final_level, at::ScalarType arithmetic) {
  auto values = levels;
  values.push_back(final_level);
  return at::tensor(values, at::kDouble).to(at::kFloat).to(arithmetic);
}

at::Tensor at_least_float32(const at::Tensor& t) {
  return t.scalar_type() == at::kHalf || t.scalar_type() == at::kBFloat16 ? t.to(at::kFloat) : t;
}

}  // namespace i2i::reference
