// Every kernel file of ours, compiled for the CPU: the same sources that nvcc compiles.
#include "optimized/ops/cuda/guided_step.cu"
