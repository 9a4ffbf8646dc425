#include "optimized/ops/cuda/linear.cuh"

namespace i2i::cuda {

cudaError_t linear(const Linear& a, cudaStream_t stream) {
  if (!possible(a)) return cudaErrorInvalidValue;
  switch (a.type) {
    case ElementType::kFloat16:
      return launch_linear_of_activation<__half>(a, stream);
    case ElementType::kBFloat16:
      return launch_linear_of_activation<__nv_bfloat16>(a, stream);
    case ElementType::kFloat32:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
