// AutoencoderKL over the fused operators: pictures to moments of latents, latents to pictures.
#pragma once

#include <vector>

#include "interface/model_config.h"
#include "optimized/layers.h"

namespace i2i {

class OptimizedVae {
 public:
  /// @param exact  of the encoder's last convolutions: what they round is in every step of a model that reads the
  /// source
  OptimizedVae(Runtime& runtime, Runtime& exact, const VaeConfig& config, const Weights& weights);

  /// @param pixels  [1,3,H,W] in [-1,1]
  /// @return        [1,2*latent_channels,h,w]: mean, then log variance (not clamped)
  at::Tensor encode(const at::Tensor& pixels) const;

  /// @param latents  [B,latent_channels,h,w], unscaled
  /// @return         [B,3,H,W]
  at::Tensor decode(const at::Tensor& latents) const;

 private:
  struct Resnet {
    GroupNorm norm1, norm2;
    Conv2d conv1, conv2, shortcut;
  };
  struct Middle {
    Resnet first, last;
    GroupNorm norm;
    Int8Layers::Layer* attention = nullptr;
    Linear qkv, out;  ///< undefined where the VAE has no attention
  };
  struct Level {
    std::vector<Resnet> resnets;
    Conv2d resample;
  };
  struct Half {
    Conv2d conv_in, conv_out;
    std::vector<Level> levels;
    Middle middle;
    GroupNorm norm_out;
  };

  Resnet make_resnet(const WeightReader& reader) const;
  Half make_half(const WeightReader& reader, const char* blocks, std::int64_t resnets, bool down) const;
  at::Tensor run(const Resnet& resnet, const at::Tensor& x) const;
  at::Tensor run(const Middle& middle, const at::Tensor& x) const;

  Runtime* runtime_;
  Runtime* exact_;
  VaeConfig config_;
  Half encoder_, decoder_;
  Conv2d quant_conv_, post_quant_conv_;
};

}  // namespace i2i
