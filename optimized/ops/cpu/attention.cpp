// Scaled-dot-product attention: keys and values are packed into panels per head, then blocks of queries run both
// products and the softmax between them (simd/attention.cpp) on scores that never leave the second-level cache.
#include <ATen/ops/empty.h>

#include <cmath>

#include "optimized/ops/cpu/attention_bf16.h"
#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {
namespace {

/// Where one head's packed keys and values lie.
struct HeadLayout {
  std::int64_t keys, head_size, key_panel, value_panel, key_floats, floats;

  HeadLayout(std::int64_t key_count, std::int64_t size)
      : keys(key_count),
        head_size(size),
        key_panel(panel_width_for(key_count)),
        value_panel(panel_width_for(size)),
        key_floats(round_up(key_count, key_panel) * size),
        floats(round_up(key_floats + round_up(size, value_panel) * key_count, 16)) {}
};

void pack_head(const Kernels& use, const HeadLayout& layout, const float* key, const float* value, std::int64_t stride,
               float* packed) {
  use.pack_transposed(key, stride, layout.keys, layout.head_size, layout.key_panel, packed);
  use.pack_rows(value, stride, layout.keys, layout.head_size, layout.value_panel, packed + layout.key_floats);
}

/// Whole panels of keys whose keys, values and scores for kBlockRows queries fill at most 384 kB of the second-level
/// cache.
std::int64_t keys_at_once(const HeadLayout& layout) {
  const std::int64_t per_key = kBlockRows + 2 * round_up(layout.head_size, layout.value_panel);
  const std::int64_t fit = (96 << 10) / per_key / layout.key_panel * layout.key_panel;
  return std::min(round_up(layout.keys, layout.key_panel), std::max(fit, layout.key_panel));
}

struct Queries {
  const float* data;
  std::int64_t stride;
  std::int64_t count;
  float* out;
  std::int64_t out_stride;
  bool causal;
};

void attend(const Kernels& use, const HeadLayout& layout, const float* packed, const Queries& queries,
            std::int64_t first, std::int64_t count) {
  AttentionBlock block;
  block.query = queries.data + first * queries.stride;
  block.query_stride = queries.stride;
  block.queries = count;
  block.first_query = first;
  block.head_size = layout.head_size;
  block.keys = layout.keys;
  block.packed_keys = packed;
  block.packed_values = packed + layout.key_floats;
  block.key_panel = layout.key_panel;
  block.value_panel = layout.value_panel;
  block.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(layout.head_size)));
  block.causal = queries.causal;
  block.out = queries.out + first * queries.out_stride;
  block.out_stride = queries.out_stride;
  block.keys_at_once = keys_at_once(layout);
  block.value_width = round_up(layout.head_size, layout.value_panel);
  block.scores = thread_scratch(2, count * (block.keys_at_once + block.value_width));
  block.sums = block.scores + count * block.keys_at_once;
  use.attention(block);
}

double cost_ns(std::int64_t heads, std::int64_t queries, const HeadLayout& layout) {
  return static_cast<double>(heads * queries * layout.keys) * (static_cast<double>(layout.head_size) / 30 + 0.5);
}

}  // namespace

void self_attention(const at::Tensor& qkv, std::int64_t heads, bool causal, const at::Tensor& out) {
  const Rows x = rows_of(qkv, "self_attention qkv"), y = rows_of(out, "self_attention out");
  const std::int64_t width = y.width, images = x.images, tokens = x.count / images;
  TORCH_CHECK(x.width == 3 * width && x.count == y.count && width % heads == 0, "self_attention: ", qkv.sizes(), " to ",
              out.sizes(), " with ", heads, " heads");
  const HeadLayout layout(tokens, width / heads);
  const Kernels& use = kernels();
  const std::int64_t per_block = kBlockRows, blocks = (tokens + per_block - 1) / per_block;
  const auto head_of = [&](std::int64_t task) {
    const std::int64_t image = task / heads, channel = task % heads * layout.head_size;
    return Queries{x.data + image * tokens * 3 * width + channel, 3 * width, tokens,
                   y.data + image * tokens * width + channel,     width,     causal};
  };
  const auto pack = [&](const Queries& head, float* packed) {
    pack_head(use, layout, head.data + width, head.data + 2 * width, head.stride, packed);
  };
  const double cost = cost_ns(images * heads, tokens, layout);
  if (blocks == 1 || images * heads >= 8 * thread_count()) {  // a head is a task: packed and used by the same thread
    for_each_task(images * heads, cost, [&](std::int64_t task) {
      const Queries head = head_of(task);
      float* packed = thread_scratch(3, layout.floats);
      pack(head, packed);
      for (std::int64_t first = 0; first < tokens; first += per_block) {
        attend(use, layout, packed, head, first, std::min(per_block, tokens - first));
      }
    });
    return;
  }
  float* packed = thread_scratch(0, images * heads * layout.floats);
  for_each_task(images * heads, cost / 10,
                [&](std::int64_t task) { pack(head_of(task), packed + task * layout.floats); });
  for_each_task(images * heads * blocks, cost, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * per_block;
    attend(use, layout, packed + task / blocks * layout.floats, head_of(task / blocks), first,
           std::min(per_block, tokens - first));
  });
}

at::Tensor pack_key_value(const at::Tensor& key_value, std::int64_t heads) {
  TORCH_CHECK(key_value.size(-1) % (2 * heads) == 0, "pack_key_value: ", key_value.sizes(), " with ", heads, " heads");
  if (key_value.scalar_type() == at::kBFloat16) return pack_key_value_bf16(key_value, heads);
  const Rows x = rows_of(key_value, "pack_key_value");
  const std::int64_t width = x.width / 2, images = x.images, keys = x.count / images;
  const HeadLayout layout(keys, width / heads);
  at::Tensor packed = at::empty({images, heads, layout.floats}, at::kFloat);
  auto* target = static_cast<float*>(packed.data_ptr());
  const Kernels& use = kernels();
  for (std::int64_t task = 0; task < images * heads; ++task) {
    const float* key = x.data + task / heads * keys * x.width + task % heads * layout.head_size;
    pack_head(use, layout, key, key + width, x.width, target + task * layout.floats);
  }
  return packed;
}

void cross_attention(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                     const at::Tensor& out) {
  if (key_value.scalar_type() == at::kBFloat16) return cross_attention_bf16(query, key_value, keys, heads, out);
  const Rows x = rows_of(query, "cross_attention query"), y = rows_of(out, "cross_attention out");
  const std::int64_t width = y.width, images = x.images, tokens = x.count / images, sets = key_value.size(0);
  const HeadLayout layout(keys, width / heads);
  TORCH_CHECK(x.width == width && x.count == y.count && images % sets == 0 && key_value.size(1) == heads &&
                  key_value.size(2) == layout.floats,
              "cross_attention: ", query.sizes(), " against ", key_value.sizes(), " to ", out.sizes());
  const auto* packed = static_cast<const float*>(key_value.const_data_ptr());
  const Kernels& use = kernels();
  const std::int64_t per_block = kBlockRows, blocks = (tokens + per_block - 1) / per_block;
  for_each_task(images * heads * blocks, cost_ns(images * heads, tokens, layout), [&](std::int64_t task) {
    const std::int64_t head = task / blocks % heads, image = task / blocks / heads, channel = head * layout.head_size;
    const std::int64_t first = task % blocks * per_block, offset = image * tokens * width + channel;
    const Queries queries{x.data + offset, width, tokens, y.data + offset, width, false};
    const std::int64_t set = image * sets / images;
    attend(use, layout, packed + (set * heads + head) * layout.floats, queries, first,
           std::min(per_block, tokens - first));
  });
}

}  // namespace i2i::cpu
