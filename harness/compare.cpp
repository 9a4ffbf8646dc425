#include "harness/compare.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/metrics/metric.h"
#include "interface/error.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

std::vector<std::int64_t> unravel(std::int64_t flat, at::IntArrayRef shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

StageDifference difference(const std::string& name, const std::vector<at::Tensor>& reference,
                           const std::vector<at::Tensor>& optimized, double bound) {
  StageDifference row;
  row.name = name;
  row.bound = bound;
  if (optimized.size() != reference.size()) {
    row.problem = fmt::format("{} tensors in the reference, {} in the other", reference.size(), optimized.size());
    return row;
  }
  for (std::size_t step = 0; step < reference.size(); ++step) {
    if (reference[step].sizes() != optimized[step].sizes()) {
      row.problem = fmt::format("shape [{}] in the reference, [{}] in the other",
                                fmt::join(reference[step].sizes(), ","), fmt::join(optimized[step].sizes(), ","));
      return row;
    }
    if (reference[step].numel() == 0) continue;
    const at::Tensor a = reference[step].to(at::kDouble), b = optimized[step].to(at::kDouble);
    const at::Tensor distance = (a - b).abs().nan_to_num(std::numeric_limits<double>::infinity());
    row.largest = std::max(row.largest, a.abs().max().item<double>());
    const double worst = distance.max().item<double>();
    if (worst > row.max_abs || row.worst_index.empty()) {
      row.max_abs = worst;
      row.worst_step = name.starts_with("loop.") ? static_cast<int>(step) : -1;
      row.worst_index = unravel(distance.flatten().argmax().item<std::int64_t>(), a.sizes());
    }
  }
  row.passed = row.max_abs <= bound * std::max(1.0, row.largest);
  return row;
}

double budget(const MetricRow& row) {
  if (!row.bound) return 0;
  if (row.name == "ssim") return (1 - row.value) / std::max(1e-12, 1 - *row.bound);
  return row.higher_is_better ? *row.bound / row.value : row.value / std::max(1e-12, *row.bound);
}

}  // namespace

std::vector<StageDifference> compare_stages(const CollectingTrace& reference, const CollectingTrace& optimized,
                                            double bound) {
  std::vector<StageDifference> rows;
  for (const auto& [name, stacked] : reference.stacked()) {
    rows.push_back(difference(name, reference.of(name), optimized.of(name), bound));
  }
  return rows;
}

std::vector<double> latents_drift(const CollectingTrace& reference, const CollectingTrace& optimized) {
  const auto& a = reference.of("loop.latents_out");
  const auto& b = optimized.of("loop.latents_out");
  std::vector<double> drift;
  for (std::size_t step = 0; step < std::min(a.size(), b.size()); ++step) {
    drift.push_back((a[step].to(at::kDouble) - b[step].to(at::kDouble)).abs().max().item<double>());
  }
  return drift;
}

nlohmann::json default_bounds(const std::string& dtype) {
  if (dtype == "fp32" || dtype == "fp64") return {{"ssim", 0.999}, {"lpips", 0.001}};
  // Half precision on a whole loop: measured on `scenes`, stated as what a reader would not see (design section 5).
  return {{"ssim", 0.98}, {"lpips", 0.02}};
}

std::vector<MetricRow> compare_images(const at::Tensor& reference, const at::Tensor& optimized,
                                      const std::vector<std::string>& metrics, const nlohmann::json& bounds,
                                      std::string& problem) {
  std::vector<MetricRow> rows;
  for (const std::string& name : metrics) {
    const Metric& metric = metric_by_name(name);
    MetricRow row;
    row.name = name;
    row.higher_is_better = metric.higher_is_better;
    if (bounds.contains(name)) row.bound = bounds[name].get<double>();
    row.value =
        metric.higher_is_better ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    try {
      if (reference.sizes() != optimized.sizes()) {
        throw Error(ErrorCode::kGenerationFailed,
                    fmt::format("pictures of shape [{}] and [{}]", fmt::join(reference.sizes(), ","),
                                fmt::join(optimized.sizes(), ",")));
      }
      for (std::int64_t image = 0; image < reference.size(0); ++image) {
        const double value = metric.measure(reference[image], optimized[image]);
        row.value = metric.higher_is_better ? std::min(row.value, value) : std::max(row.value, value);
        if (std::isnan(value)) throw Error(ErrorCode::kGenerationFailed, "the value is not a number");
      }
      row.passed = !row.bound || (metric.higher_is_better ? row.value >= *row.bound : row.value <= *row.bound);
      row.budget_used = budget(row);
      if (!row.passed && problem.empty()) {
        problem = fmt::format("{} {:.6g} is {} the bound {:.6g}", name, row.value,
                              metric.higher_is_better ? "below" : "above", *row.bound);
      }
    } catch (const std::exception& error) {
      row.value = std::numeric_limits<double>::quiet_NaN();
      row.passed = false;
      if (problem.empty()) problem = fmt::format("{} was asked for and could not be computed: {}", name, error.what());
    }
    rows.push_back(row);
  }
  MetricRow largest;
  largest.name = "image_max_abs";
  if (reference.sizes() == optimized.sizes()) {
    largest.value = (reference - optimized).abs().max().item<double>();
    rows.push_back(largest);
  }
  return rows;
}

std::string mistrust_reason(const at::Tensor& images, const Image& source) {
  constexpr double kFlat = 0.01, kUnchanged = 1.0 / 255;
  const Image resized = resize_lanczos(source, static_cast<int>(images.size(2)), static_cast<int>(images.size(1)));
  const at::Tensor pixels =
      at::from_blob(const_cast<std::uint8_t*>(resized.rgb.data()), {resized.height, resized.width, 3}, at::kByte)
          .to(at::kFloat) /
      255;
  for (std::int64_t image = 0; image < images.size(0); ++image) {
    const double deviation = images[image].std().item<double>();
    if (deviation < kFlat) {
      return fmt::format("picture {} is flat (standard deviation {:.4f} below {}): agreement proves little", image,
                         deviation, kFlat);
    }
    const double change = (images[image] - pixels).abs().max().item<double>();
    if (change <= kUnchanged) return fmt::format("picture {} equals the source: agreement proves little", image);
  }
  return "";
}

}  // namespace i2i
