#include "optimized/ops/cuda/interleave_upsampled.cuh"

namespace i2i::cuda {

cudaError_t interleave_upsampled(const InterleaveUpsampled& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_interleave_upsampled<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
