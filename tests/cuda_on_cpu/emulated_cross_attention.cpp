#include "optimized/ops/cuda/cross_attention.cu"
