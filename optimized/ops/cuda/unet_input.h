// The plain C++ face of unet_input.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// The UNet's input for every row of the guidance batch: [latents * scale, condition] along the channels, from NCHW in
/// fp32 to channels-last.
struct UNetInput {
  const float* latents;    ///< [images, channels, pixels]; row r takes image r % images
  const float* condition;  ///< [conditions, extra, pixels], not scaled; row r takes r * conditions / rows; null if none
  float scale;             ///< the scheduler's, of this step
  void* out;               ///< [rows, pixels, channels + extra] of `type`
  ElementType type;
  int images;
  int rows;  ///< a multiple of images and of conditions, at most 65535
  int conditions;
  int channels;
  int extra;  ///< 0 where condition is null
  int pixels;
};

/// @return the launch's error; cudaErrorInvalidValue where rows is no multiple of images and conditions
cudaError_t unet_input(const UNetInput& call, cudaStream_t stream);

}  // namespace i2i::cuda
