#include "optimized/ops/cuda/cross_attention.cuh"

namespace i2i::cuda {

Attention cross_attention_of(const void* query, const void* key_value, void* out, ElementType type, int images,
                             int conditions, int queries, int keys, int heads, int head_size) {
  const int width = heads * head_size;
  const auto* key = static_cast<const unsigned char*>(key_value);  // of 2-byte elements
  return {query,     key,    key + 2 * static_cast<std::int64_t>(width),
          out,       type,   width,
          2 * width, images, conditions,
          queries,   keys,   heads,
          head_size, false};
}

cudaError_t cross_attention(const Attention& a, cudaStream_t stream) {
  if (!possible(a) || a.causal) return cudaErrorInvalidValue;
  switch (a.type) {
    case ElementType::kFloat16:
      return launch_cross_attention_of_head_size<__half>(a, stream);
    case ElementType::kBFloat16:
      return launch_cross_attention_of_head_size<__nv_bfloat16>(a, stream);
    case ElementType::kFloat32:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
