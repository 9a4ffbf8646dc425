// The plain C++ face of concat_channels.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = [a, b] along the channels of each row: the UNet's skip connections.
struct ConcatChannels {
  const void* a;  ///< [rows, a_channels]
  const void* b;  ///< [rows, b_channels]
  void* out;      ///< [rows, a_channels + b_channels]
  ElementType type;
  std::int64_t rows;  ///< rows * (a_channels + b_channels) is below 2^31
  int a_channels;
  int b_channels;
};

/// @return the launch's error; cudaErrorInvalidValue where `out` has 2^31 elements or more
cudaError_t concat_channels(const ConcatChannels& call, cudaStream_t stream);

}  // namespace i2i::cuda
