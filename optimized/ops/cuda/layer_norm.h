// The plain C++ face of layer_norm.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = (x - mean) / sqrt(variance + eps) * weight + bias, x = input + residual, over the channels of each row.
/// Ba et al. 2016 (arXiv:1607.06450). x is normalised before it is rounded to `type`.
struct LayerNorm {
  const void* input;     ///< [rows, channels] of `type`
  const void* residual;  ///< [rows, channels] of `type`; null for none
  ElementType type;
  const float* weight;  ///< [channels]
  const float* bias;    ///< [channels]
  void* out;            ///< [rows, channels] of `type`; may be input
  void* sum;            ///< x, [rows, channels] of `type`; may be input or residual; null where nobody asks
  std::int64_t rows;
  int channels;
  float eps;
};

/// @return the launch's error
cudaError_t layer_norm(const LayerNorm& call, cudaStream_t stream);

}  // namespace i2i::cuda
