// Attention of a block of queries in integers, and the packing of its keys and values. Queries and keys are bytes with
// a step per row. Softmax weights reach from 1 down to what thousands of keys share: they are 15-bit words, with values
// of eight bits in words beside them. Taking the mean key from all keys changes no softmax and leaves finer steps
// (Zhang et al. 2024, arXiv:2410.02367, section 4.2).
#include <cmath>

#include "optimized/ops/cpu/simd/softmax.h"

namespace i2i::cpu::I2I_ISA {
namespace {

constexpr float kWeightSteps = 32767.0f;

typedef std::int16_t Words __attribute__((vector_size(I2I_VECTOR_BYTES / 2), aligned(2), may_alias));

/// round(32767 * weights).
inline void store_words(std::int16_t* words, Vector weights) {
  const Vector magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds, and leaves the integer in the lowest bits
  const IntVector bits = reinterpret_cast<IntVector>(weights * kWeightSteps + magic);
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words),
                      _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(bits)));
#else
  *reinterpret_cast<Words*>(words) = __builtin_convertvector(bits & 0xffff, Words);
#endif
}

}  // namespace

void int8_attention(const Int8AttentionBlock& block) {
  const std::int64_t values = block.value_width, groups = (block.head_size + 3) / 4;
  const std::int64_t key_panel_bytes = int8_panel_rows(groups) * block.key_panel;
  const std::int64_t pairs = (block.keys + 1) / 2;
  SoftmaxState states[kBlockRows];
  float query_scales[kBlockRows], weight_scales[kBlockRows];
  quantize_rows(
      {block.query, block.query_stride, block.queries, block.head_size, block.bytes, 4 * groups, query_scales});
  for (std::int64_t i = 0; i < block.queries; ++i) weight_scales[i] = 1.0f / kWeightSteps;
  for (std::int64_t first = 0; first < block.keys; first += block.keys_at_once) {
    const std::int64_t keys = block.keys - first < block.keys_at_once ? block.keys - first : block.keys_at_once;
    for (std::int64_t panel = 0; panel < keys; panel += block.key_panel) {
      Int8ProductBlock scores;
      scores.a = block.bytes;
      scores.a_stride = 4 * groups;
      scores.rows = block.queries;
      scores.groups = groups;
      set_panel(scores, block.packed_keys + (first + panel) / block.key_panel * key_panel_bytes, block.key_panel);
      scores.c = block.scores + panel;
      scores.c_stride = block.keys_at_once;
      int8_product(scores);
    }
    for (std::int64_t i = 0; i < block.queries; ++i) {
      std::int16_t* words = block.weights + i * block.keys_at_once;
      // Here a query's step comes in, rather than into each of its scores.
      const float correction =
          softmax_block<4>(block.scores + i * block.keys_at_once, keys, keys, block.scale * kLog2E * query_scales[i],
                           states[i], [=](std::int64_t j, Vector e) { store_words(words + j, e); });
      if (first > 0 && correction != 1) scale_row(block.sums + i * values, values, correction);
    }
    for (std::int64_t panel = 0; panel < values; panel += block.value_panel) {
      Int8ProductBlock sums;
      sums.a = reinterpret_cast<const std::uint8_t*>(block.weights);
      sums.a_stride = 2 * block.keys_at_once;
      sums.row_scale = weight_scales;
      sums.rows = block.queries;
      sums.groups = (keys + 1) / 2;
      sums.panel = block.packed_values + (panel * pairs + first / 2 * block.value_panel) * 4;
      sums.panel_width = block.value_panel;
      sums.columns = block.head_size - panel;
      sums.column_scale = block.value_scales + panel;
      sums.c = block.sums + panel;
      sums.c_stride = values;
      sums.words = true;
      sums.accumulate = first > 0;
      int8_product(sums);
    }
  }
  for (std::int64_t i = 0; i < block.queries; ++i) {
    finish_attention_row(block.sums + i * values, block.head_size, states[i], block.out + i * block.out_stride);
  }
}

/// Keys less their mean as columns of bytes, each with a step of its own; keys beyond the last are zero.
void pack_int8_keys(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                    std::int64_t panel_width, std::int8_t* packed) {
  const std::int64_t groups = (head_size + 3) / 4;
  float mean[kMaxHeadSize] = {}, centred[kMaxHeadSize];
  for (std::int64_t key = 0; key < keys; ++key) {
    for (std::int64_t k = 0; k < head_size; ++k) mean[k] += x[key * stride + k];
  }
  for (std::int64_t k = 0; k < head_size; ++k) mean[k] /= static_cast<float>(keys);
  for (std::int64_t first = 0; first < keys; first += panel_width) {
    std::int8_t* panel = packed + first / panel_width * int8_panel_rows(groups) * panel_width;
    std::memset(panel, 0, static_cast<std::size_t>(int8_panel_rows(groups) * panel_width));
    std::int8_t* starts = panel + 4 * groups * panel_width;
    auto* scales = reinterpret_cast<float*>(starts + 4 * panel_width);
    const std::int64_t count = keys - first < panel_width ? keys - first : panel_width;
    for (std::int64_t j = 0; j < count; ++j) {
      const float* key = x + (first + j) * stride;
      for (std::int64_t k = 0; k < head_size; ++k) centred[k] = key[k] - mean[k];
      std::uint8_t bytes[kMaxHeadSize];
      quantize_rows({centred, head_size, 1, head_size, bytes, 4 * groups, scales + j});
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < 4 * groups; ++k) sum += bytes[k];
      const std::int32_t start = -128 * (sum - 512 * static_cast<std::int32_t>(groups));
      std::memcpy(starts + 4 * j, &start, 4);
      for (std::int64_t k = 0; k < groups; ++k) {
        std::uint32_t four;
        std::memcpy(&four, bytes + 4 * k, 4);
        four ^= 0x80808080u;  // from an offset of 128 to signed
        std::memcpy(panel + (k * panel_width + j) * 4, &four, 4);
      }
    }
  }
}

/// Values as words in [-127, 127], pairs of keys side by side, each channel with a step of its own. AMX multiplies
/// bytes only: there each is a byte with a zero beside it, which meets the lower or the upper byte of a weight.
void pack_int8_values(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                      std::int64_t panel_width, std::int8_t* packed, float* scales) {
  const std::int64_t pairs = (keys + 1) / 2, width = (head_size + panel_width - 1) / panel_width * panel_width;
  for (std::int64_t c = 0; c < width; ++c) scales[c] = 0;
  for (std::int64_t key = 0; key < keys; ++key) {
    for (std::int64_t c = 0; c < head_size; ++c) {
      const float value = x[key * stride + c], size = value < 0 ? -value : value;
      if (size > scales[c] || size != size) scales[c] = size;  // NaN stays
    }
  }
  for (std::int64_t first = 0; first < width; first += panel_width) {
    auto* panel = reinterpret_cast<std::int16_t*>(packed + first * pairs * 4);
    float inverses[kMaxPanelWidth];
    for (std::int64_t c = 0; c < panel_width; ++c) {
      const float magnitude = scales[first + c];
      inverses[c] = magnitude > 1e-30f && magnitude < 3e38f ? 127.0f / magnitude : 0.0f;
    }
    for (std::int64_t key = 0; key < 2 * pairs; ++key) {
      std::int16_t* row = panel + key / 2 * panel_width * 2 + key % 2;
      for (std::int64_t c = 0; c < panel_width; ++c) {
        const bool inside = key < keys && first + c < head_size && inverses[c] > 0;
        const float scaled = inside ? x[key * stride + first + c] * inverses[c] : 0.0f;
        const auto value = static_cast<std::int16_t>(scaled < 0 ? scaled - 0.5f : scaled + 0.5f);
#if defined(I2I_AMX)
        row[2 * c] = static_cast<std::int16_t>(value & 0xff);
#else
        row[2 * c] = value;
#endif
      }
    }
  }
  for (std::int64_t c = 0; c < width; ++c) {
    scales[c] = scales[c] <= 3e38f ? (scales[c] > 1e-30f ? scales[c] / 127.0f : 0.0f) : NAN;
  }
}

}  // namespace i2i::cpu::I2I_ISA
