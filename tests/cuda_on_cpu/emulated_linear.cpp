#include "optimized/ops/cuda/linear.cu"
