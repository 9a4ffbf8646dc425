#include "optimized/ops/cuda/guided_step.cuh"

namespace i2i::cuda {

cudaError_t guided_step(const GuidedStep& step, cudaStream_t stream) {
  return with_element_type(step.noise_pred_type, [&](auto* element) {
    return launch_guided_step<std::remove_pointer_t<decltype(element)>>(step, stream);
  });
}

}  // namespace i2i::cuda
