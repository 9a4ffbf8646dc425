#include "optimized/ops/cuda/timestep_embedding.cuh"

namespace i2i::cuda {

cudaError_t timestep_embedding(const TimestepEmbedding& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_timestep_embedding<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
