#include "optimized/ops/cuda/conv_epilogue.cuh"

namespace i2i::cuda {

cudaError_t conv_epilogue(const ConvEpilogue& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_conv_epilogue<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
