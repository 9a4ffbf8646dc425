#include "optimized/ops/cuda/geglu.cuh"

namespace i2i::cuda {

cudaError_t geglu(const Linear& a, cudaStream_t stream) {
  if (!possible(a) || a.residual != nullptr || a.activation != Activation::kNone) return cudaErrorInvalidValue;
  switch (a.type) {
    case ElementType::kFloat16:
      return launch_geglu<__half>(a, stream);
    case ElementType::kBFloat16:
      return launch_geglu<__nv_bfloat16>(a, stream);
    case ElementType::kFloat32:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
