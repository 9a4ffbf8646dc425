#include "optimized/ops/cuda/layer_norm.cuh"

namespace i2i::cuda {

cudaError_t layer_norm(const LayerNorm& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_layer_norm<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
