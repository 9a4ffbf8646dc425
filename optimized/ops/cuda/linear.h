// The plain C++ face of linear.cuh, and what geglu.h shares with it.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// In the order of the operator's argument (optimized/ops.h).
enum class Activation { kNone = 0, kSilu = 1, kQuickGelu = 2, kGelu = 3 };

/// out = act(input weight^T + bias) + residual, in one kernel: the rival of a library's product with an epilogue. All
/// pointers are multiples of 16 bytes; all elements are of `type`; sums in fp32, rounded once.
struct Linear {
  const void* input;     ///< [rows, in_channels]
  const void* weight;    ///< [out_channels, in_channels]
  const void* bias;      ///< [out_channels], or null
  const void* residual;  ///< [rows, out_channels], or null
  void* out;             ///< [rows, out_channels]
  ElementType type;      ///< kFloat16 or kBFloat16
  int rows;
  int in_channels;   ///< a multiple of 8
  int out_channels;  ///< a multiple of 8
  Activation activation;
};

/// @return the launch's error; cudaErrorInvalidValue for a type, a size or an alignment that the kernel has not
cudaError_t linear(const Linear& linear, cudaStream_t stream);

}  // namespace i2i::cuda
