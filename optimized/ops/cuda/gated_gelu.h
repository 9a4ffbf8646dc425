// The plain C++ face of gated_gelu.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = value * gelu(gate), gelu the exact one (Shazeer 2020, arXiv:2002.05202): what is left of GEGLU after a
/// library's product. Computed in fp32, rounded once.
struct GatedGelu {
  const void* input;  ///< [rows, 2 * channels]: values, then gates
  void* out;          ///< [rows, channels]
  ElementType type;
  std::int64_t rows;  ///< rows * channels is below 2^31
  int channels;
};

/// @return the launch's error; cudaErrorInvalidValue where `out` has 2^31 elements or more
cudaError_t gated_gelu(const GatedGelu& call, cudaStream_t stream);

}  // namespace i2i::cuda
