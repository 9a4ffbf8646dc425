// The plain C++ face of geglu.cuh.
#pragma once

#include "optimized/ops/cuda/linear.h"

namespace i2i::cuda {

/// out = value * gelu(gate), where [value, gate] = input weight^T + bias (Shazeer 2020, arXiv:2002.05202), gelu the
/// exact one. `weight` is [2 * out_channels, in_channels] and `bias` [2 * out_channels]: values first. The product of
/// twice the width never reaches memory. No residual, and no activation beside its own.
/// @return as linear() does
cudaError_t geglu(const Linear& linear, cudaStream_t stream);

}  // namespace i2i::cuda
