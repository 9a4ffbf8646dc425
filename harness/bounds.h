// How fast a model could be on a GPU: every operator call of a UNet step with guidance, and of the VAE, with the bytes
// and floating-point operations that it cannot do without. Needs a model's configuration, no weights and no GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "interface/model_config.h"
#include "reports/bounds.h"

namespace i2i {

struct BoundOptions {
  std::int64_t width = 0, height = 0;  ///< pixels; 0: the model's own size
  std::int64_t images = 1;
  /// As diffusers runs it: keys and values of the text in every step, enlarged pictures before their convolution. Else
  /// as our pipeline does: text once a request, enlargement folded into four 2 x 2 kernels.
  bool plain = false;
};

/// A100 80 GB SXM, H100 SXM, L4, RTX 4090, with the sources of their peaks.
const std::vector<GpuRow>& known_gpus();

/// Rows of the guidance batch of a model: 2, or 3 where the source picture is a condition.
std::int64_t guidance_rows(const ModelConfig& config);

/// Calls of the UNet step, the VAE's decoder and its encoder, equal ones together, in the order of their first use.
/// 16-bit elements; a convolution carries its bias, time embedding and residual, a product its bias and residual.
/// @throws Error(kUsage) where a side is no multiple of the model's factor, naming both
std::vector<BoundRow> bound_rows(const ModelConfig& config, const BoundOptions& options);

/// Rows, GPUs and what is published for this model.
BoundsReport bounds_report(const ModelConfig& config, const BoundOptions& options);

}  // namespace i2i
