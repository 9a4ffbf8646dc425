#include "interface/beta_quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace i2i {
namespace {

/// The continued fraction of the incomplete beta function (Abramowitz & Stegun 1964, 26.5.8), summed with Lentz's
/// method; converges fast for x below (a + 1) / (a + b + 2).
double continued_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), product = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double factor = 1;
    for (const double numerator : {even, odd}) {
      d = 1 / away_from_zero(1 + numerator * d);
      c = away_from_zero(1 + numerator / c);
      factor = c * d;
      product *= factor;
    }
    if (std::abs(factor - 1) < std::numeric_limits<double>::epsilon()) break;
  }
  return product;
}

/// P(X <= x), for x below about the mean.
double lower_tail(double x, double a, double b) {
  return std::pow(x, a) * std::pow(1 - x, b) / (a * std::beta(a, b)) * continued_fraction(x, a, b);
}

double probability(double x, double a, double b) {
  return x < (a + 1) / (a + b + 2) ? lower_tail(x, a, b) : 1 - lower_tail(1 - x, b, a);
}

}  // namespace

double beta_quantile(double p, double a, double b) {
  if (!(p > 0)) return 0;
  if (p >= 1) return 1;
  if (p > probability(0.5, a, b)) return 1 - beta_quantile(1 - p, b, a);
  // Newton's steps from the first term of the series, within a bracket that halves where they leave it.
  double low = 0, high = 0.5, x = std::min(std::pow(p * a * std::beta(a, b), 1 / a), 0.5);
  for (int i = 0; i < 200; ++i) {
    const double error = probability(x, a, b) - p;
    (error > 0 ? high : low) = x;
    const double density = std::pow(x, a - 1) * std::pow(1 - x, b - 1) / std::beta(a, b);
    double next = x - error / density;
    if (!(next >= low && next <= high)) next = (low + high) / 2;
    if (std::abs(next - x) <= std::numeric_limits<double>::epsilon() * x) return next;
    x = next;
  }
  return x;
}

}  // namespace i2i
