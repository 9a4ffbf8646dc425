#include "optimized/ops/cuda/concat_channels.cuh"

namespace i2i::cuda {

cudaError_t concat_channels(const ConcatChannels& call, cudaStream_t stream) {
  return element_bytes(call.type) == 4 ? launch_concat_channels<std::uint32_t>(call, stream)
                                       : launch_concat_channels<std::uint16_t>(call, stream);
}

}  // namespace i2i::cuda
