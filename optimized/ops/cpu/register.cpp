#include "optimized/ops/cpu/register.h"

#include <torch/library.h>

namespace i2i::cpu {

void keep_registered() {}

TORCH_LIBRARY_IMPL(i2i, CPU, library) {
#define I2I_OP(name, schema) library.impl(#name, TORCH_FN(name));
#define I2I_CPU_OP I2I_OP
#include "optimized/ops.inc"
#undef I2I_OP
#undef I2I_CPU_OP
}

}  // namespace i2i::cpu
