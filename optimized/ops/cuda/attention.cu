#include "optimized/ops/cuda/attention.cuh"

namespace i2i::cuda {

Attention self_attention_of(const void* qkv, void* out, ElementType type, int images, int tokens, int heads,
                            int head_size, bool causal) {
  const int width = heads * head_size;
  const auto* bytes = static_cast<const unsigned char*>(qkv);  // of 2-byte elements
  return {bytes,
          bytes + 2 * width,
          bytes + 4 * width,
          out,
          type,
          3 * width,
          3 * width,
          images,
          images,
          tokens,
          tokens,
          heads,
          head_size,
          causal};
}

cudaError_t attention(const Attention& a, cudaStream_t stream) {
  if (!possible(a)) return cudaErrorInvalidValue;
  switch (a.type) {
    case ElementType::kFloat16:
      return launch_attention_of_head_size<__half>(a, stream);
    case ElementType::kBFloat16:
      return launch_attention_of_head_size<__nv_bfloat16>(a, stream);
    case ElementType::kFloat32:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
