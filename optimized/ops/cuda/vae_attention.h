// The plain C++ face of vae_attention.cuh.
#pragma once

#include "optimized/ops/cuda/attention.h"

namespace i2i::cuda {

/// Attention for the VAE's one head of 512 channels, whose output does not fit one warp's registers. `head_size` is
/// 512, not causal. @return as attention() does
cudaError_t vae_attention(const Attention& attention, cudaStream_t stream);

}  // namespace i2i::cuda
