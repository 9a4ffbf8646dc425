// What this machine can do at best with the threads at hand, measured in a third of a second, and how long an operator
// would take there at least: the roofline (Williams, Waterman & Patterson 2009). Called by profiles.
#pragma once

#include "harness/operator_work.h"

namespace i2i {

struct Roofline {
  int threads = 1;
  double fp32_gflops = 0;      ///< fused multiply-adds, two operations each
  double bf16_gflops = 0;      ///< the same of the processor's bfloat16 products; 0 where it has none
  double int8_gops = 0;        ///< products and sums of the processor's products of bytes; 0 where it has none
  double gigabytes_per_s = 0;  ///< read from memory
};

/// By the instruction set and threads that the operators use. The best of several short rounds each.
Roofline measure_roofline();

/// The least time that an operator can take: for its arithmetic or for its memory, whichever is more. 0 where nothing
/// is known of its work.
double least_ms(const Roofline& roofline, const OperatorWork& work);

}  // namespace i2i
