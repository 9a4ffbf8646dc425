// The plain C++ face of timestep_embedding.cuh.
#pragma once

#include <driver_types.h>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// Sinusoids of a timestep, or of one of SDXL's size numbers (Vaswani et al. 2017, section 3.5, as diffusers lays them
/// out): frequency i of channels / 2 is exp(-ln(10000) * i / (channels / 2 - freq_shift)); sines then cosines, or the
/// other way round; an odd channel is 0.
struct TimestepEmbedding {
  const float* timesteps;  ///< [rows], fractions allowed
  void* out;               ///< [rows, channels] of `type`
  ElementType type;
  int rows;
  int channels;
  bool flip_sin_to_cos;  ///< true: cosines first, as in every Stable Diffusion
  float freq_shift;      ///< 0 there
};

/// @return the launch's error
cudaError_t timestep_embedding(const TimestepEmbedding& call, cudaStream_t stream);

}  // namespace i2i::cuda
