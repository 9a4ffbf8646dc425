// Attention in bfloat16: keys and values of each head are rounded and packed, then blocks of queries run both products
// and the softmax between them (simd/bf16_attention.cpp).
#include "optimized/ops/cpu/attention_bf16.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {
namespace {

/// Where one head's packed keys and values lie, and how many of them are visited at a time.
struct HeadLayout {
  std::int64_t keys, head_size, key_depth, key_panel, value_panel, value_width, key_words, words;

  HeadLayout(const Kernels& use, std::int64_t key_count, std::int64_t size)
      : keys(key_count),
        head_size(size),
        key_depth(round_up(size, use.bf16_depth_step)),
        key_panel(std::max<std::int64_t>(32, panel_width_for(key_count) / 32 * 32)),
        value_panel(panel_width_for(size)),
        value_width(round_up(size, value_panel)),
        key_words(round_up(key_count, key_panel) * key_depth),
        words(round_up(key_words + value_width * round_up(key_count, 2), 32)) {
    TORCH_CHECK(size <= kMaxHeadSize, "attention in bfloat16: heads of ", size, ", at most ", kMaxHeadSize, " fit");
  }

  /// Scores, weights, keys and values of as many keys as fill half a megabyte of the second-level cache.
  std::int64_t keys_at_once() const {
    const std::int64_t per_key = 6 * kBlockRows + 2 * head_size + 2 * value_width;
    const std::int64_t fit = (512 << 10) / per_key / key_panel * key_panel;
    return std::min(round_up(keys, key_panel), std::max(fit, key_panel));
  }
};

/// Queries of one head, and where their results go.
struct Queries {
  const float* data;
  std::int64_t stride;
  float* out;
  std::int64_t out_stride;
};

void pack_head(const Kernels& use, const HeadLayout& layout, const float* key, const float* value, std::int64_t stride,
               std::uint16_t* packed) {
  use.pack_bf16_keys(key, stride, layout.keys, layout.head_size, layout.key_depth, layout.key_panel, packed);
  use.pack_bf16_values(value, stride, layout.keys, layout.head_size, layout.value_panel, packed + layout.key_words);
}

void attend(const Kernels& use, const HeadLayout& layout, const std::uint16_t* packed, const Queries& queries,
            std::int64_t first, std::int64_t count) {
  Bf16AttentionBlock block;
  block.query = queries.data + first * queries.stride;
  block.query_stride = queries.stride;
  block.queries = count;
  block.head_size = layout.head_size;
  block.key_depth = layout.key_depth;
  block.keys = layout.keys;
  block.packed_keys = packed;
  block.packed_values = packed + layout.key_words;
  block.key_panel = layout.key_panel;
  block.value_panel = layout.value_panel;
  block.keys_at_once = layout.keys_at_once();
  block.value_width = layout.value_width;
  block.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(layout.head_size)));
  block.out = queries.out + first * queries.out_stride;
  block.out_stride = queries.out_stride;
  const std::int64_t scores = count * block.keys_at_once, query_words = round_up(layout.head_size, kBf16StepDepth);
  block.scores = thread_scratch(2, scores + count * block.value_width + (scores + count * query_words + 1) / 2);
  block.sums = block.scores + scores;
  block.weights = reinterpret_cast<std::uint16_t*>(block.sums + count * block.value_width);
  block.rounded = block.weights + scores;
  use.bf16_attention(block);
}

/// @param packed_of  packed_of(image, head)
template <typename PackedOf>
void attend_all(const Rows& query, std::int64_t stride, const Rows& out, std::int64_t heads, const HeadLayout& layout,
                const PackedOf& packed_of) {
  const Kernels& use = kernels();
  const std::int64_t tokens = out.count / out.images, blocks = (tokens + kBlockRows - 1) / kBlockRows;
  const double cost_ns = static_cast<double>(out.images * heads * tokens * layout.keys) *
                         (static_cast<double>(layout.head_size) / 100 + 0.3);
  for_each_task(out.images * heads * blocks, cost_ns, [&](std::int64_t task) {
    const std::int64_t head = task / blocks % heads, image = task / blocks / heads, first = task % blocks * kBlockRows;
    const std::int64_t channel = head * layout.head_size;
    const Queries queries{query.data + image * tokens * stride + channel, stride,
                          out.data + image * tokens * out.width + channel, out.width};
    attend(use, layout, packed_of(image, head), queries, first, std::min(kBlockRows, tokens - first));
  });
}

}  // namespace

void self_attention_bf16(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  const Rows x = rows_of(qkv, "self_attention_bf16 qkv"), y = rows_of(out, "self_attention_bf16 out");
  const std::int64_t width = y.width, images = x.images, tokens = x.count / images;
  TORCH_CHECK(x.width == 3 * width && x.count == y.count && width % heads == 0, "self_attention_bf16: ", qkv.sizes(),
              " to ", out.sizes(), " with ", heads, " heads");
  const Kernels& use = kernels();
  const HeadLayout layout(use, tokens, width / heads);
  auto* packed = reinterpret_cast<std::uint16_t*>(thread_scratch(0, images * heads * layout.words / 2));
  for_each_task(images * heads, static_cast<double>(x.count * width), [&](std::int64_t task) {
    const float* key = x.data + task / heads * tokens * x.width + task % heads * layout.head_size + width;
    pack_head(use, layout, key, key + width, x.width, packed + task * layout.words);
  });
  attend_all(x, x.width, y, heads, layout,
             [&](std::int64_t image, std::int64_t head) { return packed + (image * heads + head) * layout.words; });
}

at::Tensor pack_key_value_bf16(const at::Tensor& key_value, std::int64_t heads) {
  const at::Tensor floats = key_value.to(at::kFloat);
  const Rows x = rows_of(floats, "pack_key_value");
  const std::int64_t width = x.width / 2, images = x.images, keys = x.count / images;
  const HeadLayout layout(kernels(), keys, width / heads);
  at::Tensor packed = at::empty({images, heads, layout.words}, at::kBFloat16);
  auto* target = static_cast<std::uint16_t*>(packed.data_ptr());
  for (std::int64_t task = 0; task < images * heads; ++task) {
    const float* key = x.data + task / heads * keys * x.width + task % heads * layout.head_size;
    pack_head(kernels(), layout, key, key + width, x.width, target + task * layout.words);
  }
  return packed;
}

void cross_attention_bf16(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                          const at::Tensor& out) {
  const Rows x = rows_of(query, "cross_attention query"), y = rows_of(out, "cross_attention out");
  const std::int64_t sets = key_value.size(0);
  const HeadLayout layout(kernels(), keys, y.width / heads);
  TORCH_CHECK(x.width == y.width && x.count == y.count && x.images % sets == 0 && key_value.size(1) == heads &&
                  key_value.size(2) == layout.words,
              "cross_attention: ", query.sizes(), " against ", key_value.sizes(), " to ", out.sizes());
  const auto* packed = static_cast<const std::uint16_t*>(key_value.const_data_ptr());
  attend_all(x, x.width, y, heads, layout, [&](std::int64_t image, std::int64_t head) {
    return packed + (image * sets / x.images * heads + head) * layout.words;
  });
}

}  // namespace i2i::cpu
