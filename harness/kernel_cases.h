// Every fused operator of the optimized implementation on the layer shapes of real models, beside the plain libtorch
// formula that the reference would use. Called by `i2i kernels`, which checks each case and then times both.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace i2i {

/// One operator on one shape, its tensors made and its weights packed.
struct PreparedKernel {
  std::function<void()> optimized;        ///< writes `out`
  std::function<at::Tensor()> reference;  ///< the formula in fp32, as libtorch computes it
  std::function<at::Tensor()> in_double;  ///< the formula in float64: what both are measured against
  at::Tensor out;                         ///< of `optimized`, in the shape of the formula's result
};

struct KernelCase {
  std::string op;     ///< as in ops.inc
  std::string shape;  ///< as people name the layer: "sd15 64x64 320->320"
  double flops = 0;   ///< of one call by the direct formula; 0 where bytes are what counts
  double bytes = 0;   ///< read and written at least once
  std::function<PreparedKernel()> prepare;
};

/// All cases, operators in ops.inc's order.
std::vector<KernelCase> kernel_cases();

/// Largest difference from the float64 formula, relative to its largest magnitude; infinite for NaN.
double distance_from_truth(const at::Tensor& value, const at::Tensor& truth);

}  // namespace i2i
