// Where, in which type and with which features each part of a pipeline computes. On a CPU text encoders, UNet and VAE
// differ little; on a GPU text is encoded in float16, a few products in plain fp32, and some VAEs need bfloat16 where
// the rest runs in float16. Owned by pipeline.cpp; layers read theirs.
#pragma once

#include <memory>

#include "interface/pipeline.h"
#include "optimized/cuda/backend.h"
#include "optimized/int8_layers.h"
#include "optimized/layers.h"

namespace i2i {

/// The backend of the device that is asked for; null for the CPU.
/// @throws Error(kUsage) for a device or dtype that this build or processor does not run
CudaBackend* backend_for(const PipelineOptions& options);

class Runtimes {
 public:
  /// @param backend  of CUDA's kernels; null on a CPU
  /// @param int8     null: with the feature int8 the layers that the model's calibration allows
  /// @throws Error(kUsage) for an unknown feature, or int8 without what it needs
  Runtimes(const ModelConfig& model, const PipelineOptions& options, CudaBackend* backend,
           std::shared_ptr<Int8Layers> int8);
  Runtimes(const Runtimes&) = delete;
  Runtimes& operator=(const Runtimes&) = delete;

  const Features& features() const { return unet_.features; }
  at::Device device() const { return unet_.device; }
  Runtime& unet() { return unet_; }
  Runtime& text() { return text_; }
  Runtime& vae() { return vae_ != nullptr ? *vae_ : unet_; }
  /// Of the few products whose rounding would be in every step: always fp32.
  Runtime& exact() { return exact_ != nullptr ? *exact_ : unet_; }
  bool vae_needs_bf16() const { return vae_ != nullptr; }

  /// Called where the size of the pictures changes.
  void clear_buffers();

  /// Called when all layers are made. @throws Error(kUsage) if int8.json keeps layers that the model has not
  void check_int8_names() const;

 private:
  Runtime unet_, text_;
  std::unique_ptr<Runtime> exact_;    ///< on a GPU, and where the CPU rounds products
  std::unique_ptr<Runtime> vae_;      ///< where it differs from the UNet's
  std::shared_ptr<Int8Layers> int8_;  ///< what unet_ points at; text encoders stay fp32
};

}  // namespace i2i
