// Reference against optimized: pictures by metrics, stage tensors one by one. Says where two runs differ, not whose
// fault.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/trace.h"
#include "interface/image.h"
#include "reports/report.h"

namespace i2i {

/// One stage tensor of two runs.
struct StageDifference {
  std::string name;
  int worst_step = -1;  ///< for "loop.*"
  std::vector<std::int64_t> worst_index;
  double max_abs = 0;
  double largest = 0;  ///< largest magnitude in the reference: what max_abs is relative to
  double bound = 0;    ///< on max_abs / max(1, largest)
  bool passed = false;
  std::string problem;  ///< shapes that differ, or a tensor that only one side has
};

/// Pairs tensors by name in the reference's order. `bound` holds relative to the larger of 1 and the largest magnitude.
std::vector<StageDifference> compare_stages(const CollectingTrace& reference, const CollectingTrace& optimized,
                                            double bound);

/// Largest absolute latent difference after each step, free-running.
std::vector<double> latents_drift(const CollectingTrace& reference, const CollectingTrace& optimized);

/// Bounds that hold where a sweep names none: SSIM 0.999 and LPIPS 0.001 in fp32, wider at lower precision.
nlohmann::json default_bounds(const std::string& dtype);

/// Each metric's worst value over the batch, judged by its bound. A metric that cannot be computed is a failed row
/// (value NaN), never a missing one. @param images  [B,H,W,3] in [0,1]
std::vector<MetricRow> compare_images(const at::Tensor& reference, const at::Tensor& optimized,
                                      const std::vector<std::string>& metrics, const nlohmann::json& bounds,
                                      std::string& problem);

/// Why agreement on these pictures proves little (flat, or equal to the source), or "".
std::string mistrust_reason(const at::Tensor& images, const Image& source);

}  // namespace i2i
