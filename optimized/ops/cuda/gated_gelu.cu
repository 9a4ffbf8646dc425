#include "optimized/ops/cuda/gated_gelu.cuh"

namespace i2i::cuda {

cudaError_t gated_gelu(const GatedGelu& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_gated_gelu<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
