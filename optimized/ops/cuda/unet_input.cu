#include "optimized/ops/cuda/unet_input.cuh"

namespace i2i::cuda {

cudaError_t unet_input(const UNetInput& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_unet_input<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
