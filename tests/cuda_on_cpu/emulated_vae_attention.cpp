#include "optimized/ops/cuda/vae_attention.cu"
