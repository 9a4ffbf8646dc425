// The quantile function of the Beta distribution, which spaces noise levels (Lee et al. 2024, arXiv:2407.12173). Plain
// mathematics; called by the schedulers of both implementations.
#pragma once

namespace i2i {

/// The x in [0,1] below which a Beta(a, b) variable falls with probability p; scipy.stats.beta.ppf to 1e-11 of itself,
/// to 1e-14 where a = b.
/// @param p  in [0,1]; clamped
/// @param a  > 0  @param b  > 0
double beta_quantile(double p, double a, double b);

}  // namespace i2i
