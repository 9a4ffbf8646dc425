// self_attention and cross_attention: by head size, our kernels or, counted, ATen's.
#include "optimized/ops/cuda/attention.h"

#include <ATen/ATen.h>

#include "optimized/ops/cuda/cross_attention.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "optimized/ops/cuda/vae_attention.h"

namespace i2i::cuda_ops {
namespace {

constexpr int kVaeHeadSize = 512;
constexpr std::int64_t kLibraryTokens = 256;  ///< below, a launch is what counts

/// [N,C,H,W] in channels-last memory as [N,HW,C]; tokens stay as they are.
at::Tensor tokens_of(const at::Tensor& x) { return x.dim() == 4 ? x.permute({0, 2, 3, 1}).flatten(1, 2) : x; }

}  // namespace

void self_attention(const at::Tensor& qkv, std::int64_t heads, bool causal, const at::Tensor& out) {
  const Rows x = rows_of(qkv, "self_attention qkv"), y = rows_of(out, "self_attention out");
  TORCH_CHECK(x.width == 3 * y.width && x.count == y.count && x.type == y.type && y.width % heads == 0,
              "self_attention: ", qkv.sizes(), " to ", out.sizes(), " with ", heads, " heads");
  const int head_size = y.width / static_cast<int>(heads);
  const cuda::Attention call = cuda::self_attention_of(
      x.data, y.data, x.type, x.images, static_cast<int>(x.per_image()), static_cast<int>(heads), head_size, causal);
  const bool of_vae = head_size == kVaeHeadSize;
  if (!of_vae && !causal && x.per_image() >= kLibraryTokens && libraries_win() &&
      library_self_attention(tokens_of(qkv), heads, tokens_of(out)))
    return;
  if (launched(of_vae ? cuda::vae_attention(call, stream()) : cuda::attention(call, stream()), "self_attention"))
    return;
  count_substitute("self_attention", c10::str("head size ", head_size));
  const auto parts = tokens_of(qkv).chunk(3, -1);
  tokens_of(out).copy_(plain_attention(parts[0], parts[1], parts[2], heads, causal));
}

at::Tensor pack_key_value(const at::Tensor& key_value, std::int64_t) { return key_value.contiguous(); }

void cross_attention(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                     const at::Tensor& out) {
  const Rows x = rows_of(query, "cross_attention query"), y = rows_of(out, "cross_attention out"),
             kv = rows_of(key_value, "cross_attention key_value");
  TORCH_CHECK(x.width == y.width && x.count == y.count && x.type == y.type && kv.type == x.type &&
                  kv.width == 2 * x.width && kv.per_image() == keys && x.images % kv.images == 0 &&
                  x.width % heads == 0,
              "cross_attention: ", query.sizes(), " against ", key_value.sizes(), " to ", out.sizes(), " with ", heads,
              " heads");
  const int head_size = x.width / static_cast<int>(heads);
  const cuda::Attention call =
      cuda::cross_attention_of(x.data, kv.data, y.data, x.type, x.images, kv.images, static_cast<int>(x.per_image()),
                               static_cast<int>(keys), static_cast<int>(heads), head_size);
  if (launched(cuda::cross_attention(call, stream()), "cross_attention")) return;
  count_substitute("cross_attention", c10::str("head size ", head_size));
  const auto parts = key_value.repeat_interleave(x.images / kv.images, 0).chunk(2, -1);
  tokens_of(out).copy_(plain_attention(tokens_of(query), parts[0], parts[1], heads, false));
}

}  // namespace i2i::cuda_ops
