// Compiled for the CPU: the same source that nvcc compiles.
#include "tests/cuda_on_cpu/primitives.cu"
