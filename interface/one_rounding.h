// Elementary functions of float32 with a single rounding. libtorch takes them from MKL, whose high accuracy is an error
// below one unit in the last place and differs between processors; levels of noise, and with them a Brownian path asked
// at them, are to be the same on all. Goldens are made so, too (datasets/goldens/rounding.py).
#pragma once

#include <ATen/ATen.h>

namespace i2i {

inline at::Tensor rounded_sqrt(const at::Tensor& x) { return x.to(at::kDouble).sqrt().to(x.scalar_type()); }
inline at::Tensor rounded_log(const at::Tensor& x) { return x.to(at::kDouble).log().to(x.scalar_type()); }
inline at::Tensor rounded_exp(const at::Tensor& x) { return x.to(at::kDouble).exp().to(x.scalar_type()); }
inline at::Tensor rounded_pow(const at::Tensor& x, double exponent) {
  return x.to(at::kDouble).pow(exponent).to(x.scalar_type());
}

}  // namespace i2i
