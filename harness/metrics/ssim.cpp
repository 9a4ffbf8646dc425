#include <ATen/ATen.h>
#include <fmt/format.h>

#include "harness/metrics/metric.h"
#include "interface/error.h"

namespace i2i {
namespace {

constexpr int kWindow = 11;
constexpr double kSigma = 1.5, kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;

// Separable Gaussian mean of [1,3,H,W] over the windows that lie inside.
at::Tensor gaussian_mean(const at::Tensor& image) {
  const at::Tensor distance = at::arange(kWindow, at::kDouble) - kWindow / 2;
  at::Tensor weights = at::exp(-(distance * distance) / (2 * kSigma * kSigma));
  weights = weights / weights.sum();
  const at::Tensor down = weights.view({1, 1, kWindow, 1}).expand({3, 1, kWindow, 1}).contiguous();
  const at::Tensor across = weights.view({1, 1, 1, kWindow}).expand({3, 1, 1, kWindow}).contiguous();
  const at::Tensor no_bias;
  const std::vector<std::int64_t> ones{1, 1}, zeros{0, 0};
  const at::Tensor rows = at::conv2d(image, down, no_bias, ones, zeros, ones, 3);
  return at::conv2d(rows, across, no_bias, ones, zeros, ones, 3);
}

double mean_similarity(const at::Tensor& a, const at::Tensor& b, bool pad_borders) {
  if (a.sizes() != b.sizes() || a.size(0) < kWindow || a.size(1) < kWindow) {
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("ssim needs two pictures of one size, at least {} x {}; given {} x {} and {} x {}", kWindow,
                            kWindow, a.size(1), a.size(0), b.size(1), b.size(0)));
  }
  const auto prepare = [&](const at::Tensor& image) {
    const at::Tensor nchw = image.to(at::kDouble).permute({2, 0, 1}).unsqueeze(0).contiguous();
    constexpr std::int64_t kBorder = kWindow / 2;
    return pad_borders ? at::reflection_pad2d(nchw, {kBorder, kBorder, kBorder, kBorder}) : nchw;
  };
  const at::Tensor x = prepare(a), y = prepare(b);
  const at::Tensor mean_x = gaussian_mean(x), mean_y = gaussian_mean(y);
  const at::Tensor variance_x = gaussian_mean(x * x) - mean_x * mean_x;
  const at::Tensor variance_y = gaussian_mean(y * y) - mean_y * mean_y;
  const at::Tensor covariance = gaussian_mean(x * y) - mean_x * mean_y;
  const at::Tensor map = (2 * mean_x * mean_y + kC1) * (2 * covariance + kC2) /
                         ((mean_x * mean_x + mean_y * mean_y + kC1) * (variance_x + variance_y + kC2));
  return map.mean().item<double>();
}

}  // namespace

double ssim(const at::Tensor& a, const at::Tensor& b) { return mean_similarity(a, b, false); }

double ssim_padded(const at::Tensor& a, const at::Tensor& b) { return mean_similarity(a, b, true); }

}  // namespace i2i
