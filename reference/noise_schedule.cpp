#include "reference/noise_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "interface/beta_quantile.h"
#include "interface/error.h"
#include "interface/one_rounding.h"

namespace i2i::reference {
namespace {

/// Betas of a curve of alphas_cumprod over [0, 1], capped at 0.999.
template <typename Curve>
at::Tensor betas_of(const Curve& alpha_bar, int count) {
  std::vector<float> betas;
  for (int i = 0; i < count; ++i) {
    const double now = alpha_bar(double(i) / count), next = alpha_bar(double(i + 1) / count);
    betas.push_back(static_cast<float>(std::min(1 - next / now, 0.999)));
  }
  return at::tensor(betas, at::kFloat);
}

/// Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17.
double squared_cosine(double t) {
  constexpr double kPi = 3.14159265358979323846;
  return std::pow(std::cos((t + 0.008) / 1.008 * kPi / 2), 2);
}

/// Levels whose log SNR is Laplace distributed, mean 0 and scale 0.5 (Hang et al. 2024, arXiv:2407.03297).
double laplace(double t) {
  const double side = std::copysign(1.0, 0.5 - t);
  const double log_snr = -0.5 * side * std::log(1 - 2 * std::abs(0.5 - t) + 1e-6);
  const double snr = std::exp(log_snr);
  return std::sqrt(snr / (1 + snr));
}

at::Tensor make_betas(SchedulerConfig& config, std::initializer_list<const char*> schedules) {
  const int count = config.integer("num_train_timesteps");
  const double first = config.number("beta_start");
  const double last = config.number("beta_end");
  const auto shape = config.one_of("beta_schedule", schedules);
  const auto trained = config.numbers_or_none("trained_betas");
  if (!trained.empty()) {
    if (trained.size() != static_cast<std::size_t>(count)) {
      throw Error(ErrorCode::kUsage, fmt::format("{}: trained_betas has {} entries, num_train_timesteps is {}",
                                                 config.scheduler_name(), trained.size(), count));
    }
    return at::tensor(trained, at::kDouble).to(at::kFloat);
  }
  if (shape == "linear") return at::linspace(first, last, count, at::kFloat);
  if (shape == "scaled_linear") return at::linspace(std::sqrt(first), std::sqrt(last), count, at::kFloat).square();
  if (shape == "sigmoid") return at::linspace(-6, 6, count, at::kFloat).sigmoid() * (last - first) + first;
  if (shape == "exp") return betas_of([](double t) { return std::exp(t * -12); }, count);
  if (shape == "laplace") return betas_of(laplace, count);
  return betas_of(squared_cosine, count);
}

}  // namespace

at::Tensor make_alphas_cumprod(SchedulerConfig& config, bool rescale_zero_snr,
                               std::initializer_list<const char*> schedules) {
  const auto abar = at::cumprod(1 - make_betas(config, schedules), 0);
  if (!rescale_zero_snr) return abar;
  const auto root = rounded_sqrt(abar);
  const auto first = root[0], last = root[-1];
  const auto rescaled = ((root - last) * (first / (first - last))).square();
  // Through alphas and back, as diffusers does: the product's rounding is part of its numbers.
  const auto alphas = at::cat({rescaled.slice(0, 0, 1), rescaled.slice(0, 1) / rescaled.slice(0, 0, -1)});
  return at::cumprod(1 - (1 - alphas), 0);
}

std::vector<float> make_sigmas(const at::Tensor& alphas_cumprod) {
  const auto sigmas = rounded_sqrt((1 - alphas_cumprod) / alphas_cumprod).contiguous();
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

SigmaGrid read_sigma_grid(SchedulerConfig& config, bool has_lu_lambdas) {
  auto grid = SigmaGrid::kTable;
  const auto read = [&](const char* key, SigmaGrid one) {
    if (!config.boolean(key)) return;
    if (grid != SigmaGrid::kTable) {
      throw Error(ErrorCode::kUsage,
                  config.scheduler_name() + ": " + key + " and another grid of levels are both true");
    }
    grid = one;
  };
  read("use_karras_sigmas", SigmaGrid::kKarras);
  read("use_exponential_sigmas", SigmaGrid::kExponential);
  read("use_beta_sigmas", SigmaGrid::kBeta);
  if (has_lu_lambdas) read("use_lu_lambdas", SigmaGrid::kLu);
  return grid;
}

std::vector<double> spaced_sigmas(SigmaGrid grid, double sigma_max, double sigma_min, int n) {
  if (grid == SigmaGrid::kKarras) return karras_sigmas(sigma_max, sigma_min, n);
  std::vector<double> sigmas;
  if (grid == SigmaGrid::kBeta) {
    for (const double ramp : linspace(0, 1, n)) {
      sigmas.push_back(sigma_min + beta_quantile(1 - ramp, 0.6, 0.6) * (sigma_max - sigma_min));
    }
  } else if (grid == SigmaGrid::kLu) {
    const double first = std::log(float(sigma_max)), last = std::log(float(sigma_min));
    for (const double ramp : linspace(0, 1, n)) sigmas.push_back(std::exp(first + ramp * (last - first)));
  } else {
    for (const double log_sigma : linspace(std::log(sigma_max), std::log(sigma_min), n)) {
      sigmas.push_back(std::exp(log_sigma));
    }
  }
  return sigmas;
}

Thresholding::Thresholding(SchedulerConfig& config)
    : enabled(config.boolean("thresholding")),
      ratio(config.number("dynamic_thresholding_ratio")),
      sample_max_value(config.number("sample_max_value")) {}

at::Tensor Thresholding::operator()(const at::Tensor& x0) const {
  const auto values = at_least_float32(x0).flatten(1);
  const auto bound = at::quantile(values.abs(), ratio, 1).clamp(1, sample_max_value).unsqueeze(1);
  return (values.clamp(-bound, bound) / bound).reshape(x0.sizes()).to(x0.scalar_type());
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
