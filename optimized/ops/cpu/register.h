// The CPU backend's functions, one per line of ops.inc, and the anchor that keeps their registration in the program.
#pragma once

#include "optimized/ops.h"

namespace i2i::cpu {

using ops::OptionalTensor;

/// Does nothing; a static library's registration survives linking only where something refers to its object file.
void keep_registered();

/// Every operator, with the signature that ops.h gives it.
#define I2I_OP(name, schema) decltype(ops::name) name;
#define I2I_CPU_OP I2I_OP
#include "optimized/ops.inc"
#undef I2I_OP
#undef I2I_CPU_OP

}  // namespace i2i::cpu
