#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "harness/metrics/metric.h"
#include "interface/error.h"

namespace i2i {

double psnr(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) throw Error(ErrorCode::kGenerationFailed, "psnr needs two pictures of one size");
  const double mean_square = (a.to(at::kDouble) - b.to(at::kDouble)).square().mean().item<double>();
  return mean_square == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(mean_square);
}

}  // namespace i2i
