#include "optimized/ops/cuda/vae_attention.cuh"

namespace i2i::cuda {

cudaError_t vae_attention(const Attention& a, cudaStream_t stream) {
  if (!possible(a) || a.causal || a.head_size != VaeAttentionTiling<2>::kHead) return cudaErrorInvalidValue;
  switch (a.type) {
    case ElementType::kFloat16:
      return launch_vae_attention_of_device<__half>(a, stream);
    case ElementType::kBFloat16:
      return launch_vae_attention_of_device<__nv_bfloat16>(a, stream);
    case ElementType::kFloat32:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
