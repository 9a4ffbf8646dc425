// In place of cudnn_convolution.cpp where there is no cuDNN to build with: every convolution goes the other way.
#include "optimized/ops/cuda/torch/cudnn_convolution.h"

namespace i2i::cuda_ops {

void use_cudnn_graphs(bool) {}

bool cudnn_convolution(const at::Tensor&, const at::Tensor&, const OptionalTensor&, const OptionalTensor&, std::int64_t,
                       std::int64_t, const at::Tensor&) {
  return false;
}

}  // namespace i2i::cuda_ops
