#include "optimized/ops/cuda/guided_step.cuh"

namespace i2i::cuda {

cudaError_t guided_step(const GuidedStep& step, cudaStream_t stream) {
  switch (step.noise_pred_type) {
    case ElementType::kFloat32:
      return launch_guided_step<float>(step, stream);
    case ElementType::kFloat16:
      return launch_guided_step<__half>(step, stream);
    case ElementType::kBFloat16:
      return launch_guided_step<__nv_bfloat16>(step, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
