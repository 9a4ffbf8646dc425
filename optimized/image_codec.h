// From pictures to latents and back: sizes, bytes and samples, the VAE, and how its latents are scaled. Called by
// pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "interface/action_plan.h"
#include "interface/image.h"
#include "interface/model_files.h"
#include "optimized/runtimes.h"
#include "optimized/vae.h"

namespace i2i {

/// The posterior over the source's latents, unscaled.
struct Encoded {
  at::Tensor mean, logvar;  ///< [1,4,h,w] fp32
};

class ImageCodec {
 public:
  /// @param runtimes  outlives the codec
  ImageCodec(Runtimes& runtimes, const Model& model);

  /// @return  [1,3,height,width] in [-1,1], resized by Lanczos where the source has another size
  at::Tensor preprocess(const Image& source, int width, int height) const;

  /// @param pixels  [1,3,H,W] in [-1,1]
  Encoded encode(const at::Tensor& pixels) const;

  /// The posterior's sample as start latents: semantics.md section 3.
  /// @param draw  [1 or B,4,h,w], Gaussian
  /// @return      [1 or B,4,h,w], scaled
  at::Tensor scaled_sample(const Encoded& encoded, const at::Tensor& draw) const;

  /// The source's channels for each guidance row: [source, source, nothing] (semantics.md section 10); unscaled but for
  /// CosXL.
  /// @return  [R,4,h,w]; undefined where the UNet does not take them
  at::Tensor condition(const Encoded& encoded, GuidanceMode mode) const;

  /// Latents as the decoder takes them. @param latents  [B,4,h,w], scaled
  at::Tensor unscaled(const at::Tensor& latents) const;

  /// @param latents  [B,4,h,w], unscaled
  /// @return         [B,3,H,W]
  at::Tensor decode(const at::Tensor& latents) const;

  /// @param sample  [B,3,H,W]
  /// @return        [B,H,W,3] fp32 in [0,1] on the CPU
  at::Tensor postprocess(const at::Tensor& sample) const;

 private:
  bool has_statistics() const;
  at::Tensor per_channel(const std::vector<double>& values) const;

  Runtime* runtime_;
  VaeConfig config_;
  bool conditions_, scales_condition_;
  OptimizedVae vae_;
};

}  // namespace i2i
