// The exact GELU, for the kernels that have one inside.
#pragma once

#include "optimized/ops/cuda/device.cuh"

namespace i2i::cuda {

/// x Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016, arXiv:1606.08415): the exact one, no tanh.
I2I_DEVICE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

}  // namespace i2i::cuda
