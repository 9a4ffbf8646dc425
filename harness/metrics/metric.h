// Picture metrics: one function each, one line each in metrics.inc. All take two pictures [H,W,3] float32 in [0,1],
// RGB.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace i2i {

/// Structural similarity (Wang et al. 2004): Gaussian window 11 x 11, sigma 1.5, K1 0.01, K2 0.03, data range 1,
/// population covariance, mean over the pixels whose window lies inside, and over channels. Equals scikit-image's
/// structural_similarity(gaussian_weights=True, use_sample_covariance=False).
/// @throws Error(kGenerationFailed) for pictures below 11 x 11 or of different sizes
double ssim(const at::Tensor& a, const at::Tensor& b);

/// The same over all pixels, borders reflected: equals torchmetrics 1.9's structural_similarity_index_measure.
double ssim_padded(const at::Tensor& a, const at::Tensor& b);

/// Peak signal-to-noise ratio in dB, data range 1; infinite for equal pictures.
double psnr(const at::Tensor& a, const at::Tensor& b);

/// LPIPS v0.1 (Zhang et al. 2018, arXiv:1801.03924) on AlexNet features, with the weights of .deps/lpips.
/// @throws Error(kGenerationFailed) where the weights are missing or a side is below 32
double lpips_alex(const at::Tensor& a, const at::Tensor& b);

/// The same on VGG16 features; slower.
double lpips_vgg(const at::Tensor& a, const at::Tensor& b);

struct Metric {
  std::string name;
  double (*measure)(const at::Tensor& a, const at::Tensor& b);
  bool higher_is_better;
};

/// Every metric, in metrics.inc's order.
const std::vector<Metric>& all_metrics();

/// @throws Error(kUsage) listing the known metrics
const Metric& metric_by_name(const std::string& name);

}  // namespace i2i
