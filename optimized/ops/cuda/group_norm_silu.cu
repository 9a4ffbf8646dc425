#include "optimized/ops/cuda/group_norm_silu.cuh"

namespace i2i::cuda {

std::size_t group_norm_silu_workspace_bytes(const GroupNormSilu& call) {
  return plan_group_norm(call).workspace_bytes(call);
}

cudaError_t group_norm_silu(const GroupNormSilu& call, cudaStream_t stream) {
  return with_element_type(call.type, [&](auto* element) {
    return launch_group_norm<std::remove_pointer_t<decltype(element)>>(call, stream);
  });
}

}  // namespace i2i::cuda
