// The plain C++ face of interleave_upsampled.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// The end of a folded upsampling convolution (folded_upsample.h): the four small pictures that it made become one of
/// twice the height and width, with bias and residual. out[2 y + dy, 2 x + dx, o] = input[y + dy, x + dx, dy, dx, o] +
/// bias + residual.
struct InterleaveUpsampled {
  const void* input;     ///< [images, height + 1, width + 1, 2, 2, channels] of `type`
  const void* bias;      ///< [bias_rows, channels]; image n takes row n * bias_rows / images; null for none
  const void* residual;  ///< as out; null for none
  void* out;             ///< [images, 2 height, 2 width, channels]; may be residual
  ElementType type;
  int images;  ///< at most 65535
  int bias_rows;
  int height;
  int width;
  int channels;
};

/// @return the launch's error; cudaErrorInvalidValue where an image of `out` has 2^31 elements or more
cudaError_t interleave_upsampled(const InterleaveUpsampled& call, cudaStream_t stream);

}  // namespace i2i::cuda
