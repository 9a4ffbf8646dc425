// Compiled for the CPU: the same source that nvcc compiles.
#include "optimized/ops/cuda/interleave_upsampled.cu"
