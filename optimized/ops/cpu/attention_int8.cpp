// self_attention in integers: keys and values of each head are quantized and packed, then blocks of queries run both
// products and the softmax between them (simd/int8_attention.cpp).
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

void self_attention_int8(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  const Rows x = rows_of(qkv, "self_attention_int8 qkv"), y = rows_of(out, "self_attention_int8 out");
  const std::int64_t width = y.width, images = x.images, tokens = x.count / images, head_size = width / heads;
  TORCH_CHECK(x.width == 3 * width && x.count == y.count && width % heads == 0 && head_size <= kMaxHeadSize,
              "self_attention_int8: ", qkv.sizes(), " to ", out.sizes(), " with ", heads, " heads");
  const Kernels& use = kernels();
  Int8AttentionBlock block;
  block.query_stride = 3 * width;
  block.head_size = head_size;
  block.keys = tokens;
  block.key_panel = panel_width_for(tokens);
  block.value_panel = panel_width_for(head_size);
  block.value_width = round_up(head_size, block.value_panel);
  block.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_size)));
  block.out_stride = width;
  // Scores, weights, keys and values of as many keys as fill half a megabyte of the second-level cache.
  const std::int64_t per_key = 6 * kBlockRows + head_size + 8 + 2 * block.value_width;
  const std::int64_t fit = std::min(kMostWordKeys, (512 << 10) / per_key) / block.key_panel * block.key_panel;
  block.keys_at_once = std::min(round_up(tokens, block.key_panel), std::max(fit, block.key_panel));

  const std::int64_t groups = (head_size + 3) / 4;
  const std::int64_t key_bytes = int8_panel_rows(groups) * round_up(tokens, block.key_panel);
  const std::int64_t value_bytes = 4 * block.value_width * ((tokens + 1) / 2);
  const std::int64_t head_floats = round_up((key_bytes + value_bytes) / 4 + block.value_width, 16);
  float* packed = thread_scratch(0, images * heads * head_floats);
  const auto head_of = [&](std::int64_t head) {
    Int8AttentionBlock one = block;
    const std::int64_t image = head / heads, channel = head % heads * head_size;
    one.query = x.data + image * tokens * 3 * width + channel;
    one.out = y.data + image * tokens * width + channel;
    float* scales = packed + head * head_floats;
    one.value_scales = scales;
    one.packed_keys = reinterpret_cast<const std::int8_t*>(scales + block.value_width);
    one.packed_values = one.packed_keys + key_bytes;
    return one;
  };
  const double cost_ns =
      static_cast<double>(images * heads * tokens * tokens) * (static_cast<double>(head_size) / 80 + 0.5);
  for_each_task(images * heads, cost_ns / 20, [&](std::int64_t head) {
    const Int8AttentionBlock one = head_of(head);
    use.pack_int8_keys(one.query + width, 3 * width, tokens, head_size, block.key_panel,
                       const_cast<std::int8_t*>(one.packed_keys));
    use.pack_int8_values(one.query + 2 * width, 3 * width, tokens, head_size, block.value_panel,
                         const_cast<std::int8_t*>(one.packed_values), const_cast<float*>(one.value_scales));
  });
  const std::int64_t blocks = (tokens + kBlockRows - 1) / kBlockRows;
  for_each_task(images * heads * blocks, cost_ns, [&](std::int64_t task) {
    Int8AttentionBlock one = head_of(task / blocks);
    const std::int64_t first = task % blocks * kBlockRows;
    one.queries = std::min(kBlockRows, tokens - first);
    one.query += first * one.query_stride;
    one.out += first * one.out_stride;
    const std::int64_t scores = one.queries * one.keys_at_once;
    one.scores = thread_scratch(2, scores + one.queries * one.value_width + (scores + 1) / 2 + one.queries * groups);
    one.sums = one.scores + scores;
    one.bytes = reinterpret_cast<std::uint8_t*>(one.sums + one.queries * one.value_width);
    one.weights = reinterpret_cast<std::int16_t*>(one.bytes + 4 * one.queries * groups);
    use.int8_attention(one);
  });
}

}  // namespace i2i::cpu
