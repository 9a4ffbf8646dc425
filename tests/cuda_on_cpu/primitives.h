// One small kernel per primitive that our kernels stand on: products of tensor cores, ldmatrix, cp.async, shuffles,
// votes, barriers, atomics, conversions, fast functions. Kernels and CPU runtime could share one misreading of the PTX
// ISA, so what the runtime computes is stored (primitives_golden.txt), and a GPU must give the same before any other
// test on it means something. Plain C++ face; used by primitives_test.cpp on either.
#pragma once

#include <driver_types.h>

#include <vector>

namespace i2i::cuda {

struct Primitive {
  const char* name;
  std::vector<unsigned> (*input)();  ///< words that the host fills in
  int outputs;                       ///< words
  /// 0: every bit must be the golden's. Otherwise the words are floats, at most this far from it, relative to 1 or to
  /// the golden's size, whichever is more: the instruction is an approximation.
  double tolerance;
  cudaError_t (*run)(const unsigned* input, unsigned* output, cudaStream_t stream);
};

std::vector<Primitive> primitives();

}  // namespace i2i::cuda
