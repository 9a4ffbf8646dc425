// Compiled for the CPU: the same source that nvcc compiles.
#include "optimized/ops/cuda/group_norm_silu.cu"
