// The bindings under their dispatch key. Emulated, they are a library of their own, so that one program holds the CPU's
// operators and them.
#include <torch/library.h>

#include "optimized/ops/cuda/torch/binding.h"

// What only the CPU has is left out.
#define I2I_CPU_OP(name, schema)

namespace i2i::cuda_ops {

#if defined(I2I_CUDA_ON_CPU)
TORCH_LIBRARY(i2i_emulated, library) {
#define I2I_OP(name, schema) library.def(#name schema);
#include "optimized/ops.inc"
#undef I2I_OP
}

TORCH_LIBRARY_IMPL(i2i_emulated, CPU, library) {
#else
TORCH_LIBRARY_IMPL(i2i, CUDA, library) {
#endif
#define I2I_OP(name, schema) library.impl(#name, TORCH_FN(name));
#include "optimized/ops.inc"
#undef I2I_OP
}

}  // namespace i2i::cuda_ops
