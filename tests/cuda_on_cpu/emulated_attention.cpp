// A file of its own for each large kernel, so that they compile side by side.
#include "optimized/ops/cuda/attention.cu"
