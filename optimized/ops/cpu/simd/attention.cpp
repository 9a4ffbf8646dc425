// Scaled-dot-product attention of a block of queries, keys in blocks that stay in the second-level cache together with
// their scores (online softmax: Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135), and
// the packing of keys and values into the panels that `product` reads.
#include "optimized/ops/cpu/simd/softmax.h"

namespace i2i::cpu::I2I_ISA {

void attention(const AttentionBlock& block) {
  const std::int64_t values = block.value_width;
  const float *queries[kBlockRows], *weights[kBlockRows];
  SoftmaxState states[kBlockRows];
  for (std::int64_t i = 0; i < block.queries; ++i) {
    queries[i] = block.query + i * block.query_stride;
    weights[i] = block.scores + i * block.keys_at_once;
  }
  const std::int64_t last_visible = block.causal ? block.first_query + block.queries : block.keys;
  for (std::int64_t first = 0; first < last_visible; first += block.keys_at_once) {
    const std::int64_t keys = block.keys - first < block.keys_at_once ? block.keys - first : block.keys_at_once;
    for (std::int64_t panel = 0; panel < keys; panel += block.key_panel) {
      product({queries, block.queries, 1, block.head_size, block.packed_keys + (first + panel) * block.head_size,
               block.key_panel, block.scores + panel, block.keys_at_once, false, block.key_panel, true});
    }
    for (std::int64_t i = 0; i < block.queries; ++i) {
      const std::int64_t visible = (block.causal ? block.first_query + i + 1 : block.keys) - first;
      float* row = block.scores + i * block.keys_at_once;
      const float correction = softmax_block<6>(row, visible < keys ? visible : keys, keys, block.scale * kLog2E,
                                                states[i], [=](std::int64_t j, Vector e) { store(row + j, e); });
      if (first > 0 && correction != 1) scale_row(block.sums + i * values, values, correction);
    }
    for (std::int64_t panel = 0; panel < values; panel += block.value_panel) {
      product({weights, block.queries, 1, keys, block.packed_values + panel * block.keys + first * block.value_panel,
               block.value_panel, block.sums + panel, values, first > 0, block.head_size - panel, true});
    }
  }
  for (std::int64_t i = 0; i < block.queries; ++i) {
    finish_attention_row(block.sums + i * values, block.head_size, states[i], block.out + i * block.out_stride);
  }
}

/// Rows as columns: panel p holds rows [p * panel_width, ...) of x, [depth, panel_width]; missing rows are zero.
void pack_transposed(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t depth,
                     std::int64_t panel_width, float* packed) {
  for (std::int64_t first = 0; first < rows; first += panel_width, packed += depth * panel_width) {
    const std::int64_t count = rows - first < panel_width ? rows - first : panel_width;
    for (std::int64_t k = 0; k < depth; k += 16) {  // 16 floats: a cache line of each row
      const std::int64_t end = depth - k < 16 ? depth : k + 16;
      for (std::int64_t r = 0; r < panel_width; ++r) {
        const float* row = x + (first + r) * stride;
        for (std::int64_t kk = k; kk < end; ++kk) packed[kk * panel_width + r] = r < count ? row[kk] : 0;
      }
    }
  }
}

/// Columns in panels: panel p holds columns [p * panel_width, ...) of x[depth, columns]; missing columns are zero.
void pack_rows(const float* x, std::int64_t stride, std::int64_t depth, std::int64_t columns, std::int64_t panel_width,
               float* packed) {
  for (std::int64_t first = 0; first < columns; first += panel_width) {
    const std::int64_t count = columns - first < panel_width ? columns - first : panel_width;
    for (std::int64_t k = 0; k < depth; ++k, packed += panel_width) {
      std::memcpy(packed, x + k * stride + first, static_cast<std::size_t>(count) * sizeof(float));
      for (std::int64_t j = count; j < panel_width; ++j) packed[j] = 0;
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
