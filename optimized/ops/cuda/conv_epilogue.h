// The plain C++ face of conv_epilogue.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = act(input + bias) + residual in one pass, for convolutions whose library fuses less; act is SiLU or nothing.
struct ConvEpilogue {
  const void* input;     ///< [images, pixels, channels] of `type`
  const void* bias;      ///< [bias_rows, channels] of `type`; image n takes row n * bias_rows / images; null for none.
                         ///< Several rows: the convolution's bias and the projected time embedding together
  const void* residual;  ///< as input; null for none
  void* out;             ///< as input; may be input or residual
  ElementType type;
  int images;  ///< at most 65535
  int bias_rows;
  std::int64_t pixels;  ///< pixels * channels is below 2^31
  int channels;
  bool silu;
};

/// @return the launch's error; cudaErrorInvalidValue where an image has 2^31 elements or more
cudaError_t conv_epilogue(const ConvEpilogue& call, cudaStream_t stream);

}  // namespace i2i::cuda
