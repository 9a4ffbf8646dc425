// Attention of a block of queries in bfloat16, and the packing of its keys and values: scores and sums of values are
// float32, what is multiplied (queries, keys, softmax weights, values) is rounded.
#include "optimized/ops/cpu/simd/bf16.h"
#include "optimized/ops/cpu/simd/softmax.h"

namespace i2i::cpu::I2I_ISA {
namespace {

std::int64_t round_up_to(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

void bf16_attention(const Bf16AttentionBlock& block) {
  const std::int64_t values = block.value_width, pairs = (block.keys + 1) / 2, groups = block.key_depth / 2;
  const std::int64_t query_stride = round_up_to(block.head_size, kBf16StepDepth);
  SoftmaxState states[kBlockRows];
  bf16_rows({block.query, block.query_stride, block.queries, block.head_size, block.rounded, query_stride});
  for (std::int64_t first = 0; first < block.keys; first += block.keys_at_once) {
    const std::int64_t keys = block.keys - first < block.keys_at_once ? block.keys - first : block.keys_at_once;
    for (std::int64_t panel = 0; panel < keys; panel += block.key_panel) {
      Bf16ProductBlock scores;
      scores.a = reinterpret_cast<const std::uint8_t*>(block.rounded);
      scores.a_stride = 2 * query_stride;
      scores.rows = block.queries;
      scores.groups = groups;
      scores.panel = reinterpret_cast<const std::int8_t*>(block.packed_keys + 2 * (first + panel) * groups);
      scores.panel_width = block.key_panel;
      scores.c = block.scores + panel;
      scores.c_stride = block.keys_at_once;
      bf16_product(scores);
    }
    for (std::int64_t i = 0; i < block.queries; ++i) {
      std::uint16_t* weights = block.weights + i * block.keys_at_once;
      const float correction = softmax_block<4>(block.scores + i * block.keys_at_once, keys,
                                                round_up_to(keys, kBf16StepDepth), block.scale * kLog2E, states[i],
                                                [=](std::int64_t j, Vector e) { store_bf16(weights + j, e); });
      if (first > 0 && correction != 1) scale_row(block.sums + i * values, values, correction);
    }
    for (std::int64_t panel = 0; panel < values; panel += block.value_panel) {
      Bf16ProductBlock sums;
      sums.a = reinterpret_cast<const std::uint8_t*>(block.weights);
      sums.a_stride = 2 * block.keys_at_once;
      sums.rows = block.queries;
      sums.groups = (keys + 1) / 2;
      sums.panel =
          reinterpret_cast<const std::int8_t*>(block.packed_values + 2 * panel * pairs + first * block.value_panel);
      sums.panel_width = block.value_panel;
      sums.columns = block.head_size - panel;
      sums.c = block.sums + panel;
      sums.c_stride = values;
      sums.accumulate = first > 0;
      bf16_product(sums);
    }
  }
  for (std::int64_t i = 0; i < block.queries; ++i) {
    finish_attention_row(block.sums + i * values, block.head_size, states[i], block.out + i * block.out_stride);
  }
}

/// Keys as columns, pairs of channels side by side; missing keys and channels are zero.
void pack_bf16_keys(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                    std::int64_t key_depth, std::int64_t panel_width, std::uint16_t* packed) {
  const std::int64_t groups = key_depth / 2;
  std::uint16_t key[kMaxHeadSize];  // zero up to kBf16RowStep bytes
  for (std::int64_t first = 0; first < keys; first += panel_width, packed += 2 * groups * panel_width) {
    for (std::int64_t j = 0; j < panel_width; ++j) {
      if (first + j < keys) {
        bf16_rows({x + (first + j) * stride, head_size, 1, head_size, key, kMaxHeadSize});
      } else {
        std::memset(key, 0, static_cast<std::size_t>(4 * groups));
      }
      for (std::int64_t g = 0; g < groups; ++g) std::memcpy(packed + 2 * (g * panel_width + j), key + 2 * g, 4);
    }
  }
}

/// Values with pairs of keys side by side; missing channels and an odd key's partner are zero.
void pack_bf16_values(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                      std::int64_t panel_width, std::uint16_t* packed) {
  const std::int64_t pairs = (keys + 1) / 2, width = round_up_to(head_size, panel_width);
  std::uint16_t rows[2][kMaxHeadSize + kMaxPanelWidth] = {};
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const std::int64_t count = keys - 2 * pair < 2 ? 1 : 2;
    bf16_rows({x + 2 * pair * stride, stride, count, head_size, rows[0], kMaxHeadSize + kMaxPanelWidth});
    if (count == 1) std::memset(rows[1], 0, sizeof rows[1]);
    for (std::int64_t first = 0; first < width; first += panel_width) {
      std::uint16_t* to = packed + 2 * (first * pairs + pair * panel_width);
      for (std::int64_t c = 0; c < panel_width; ++c) {
        to[2 * c] = rows[0][first + c];
        to[2 * c + 1] = rows[1][first + c];
      }
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
