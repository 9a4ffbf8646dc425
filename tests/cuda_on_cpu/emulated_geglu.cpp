#include "optimized/ops/cuda/geglu.cu"
