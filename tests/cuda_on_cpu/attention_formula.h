// Attention as its formula says, for the tests: all scores, then softmax, then the values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda {

/// Heads of tokens: element (image, token, head, i) is at ((image * tokens) + token) * stride + head * size + i.
struct AttentionShape {
  int images, conditions, queries, keys, heads, head_size;
  bool causal;
};

/// Global sectors over the ideal for heads of 40 elements: they are 80 bytes that touch three sectors, and a warp's
/// copy of 32 chunks, of which every sixth is padding, begins and ends in the middle of a head: 7 times 3 sectors
/// for 26.7 chunks.
constexpr double kSectorsOfHalfAHead = 21 / (26.7 / 2);

/// @tparam Number  what everything is computed in
template <typename Number, typename T>
std::vector<Number> attention_formula(const AttentionShape& s, const T* query, int query_stride, const T* key,
                                      const T* value, int key_value_stride) {
  const auto width = as_size(s.heads * s.head_size);
  std::vector<Number> out(as_size(s.images * s.queries) * width);
  std::vector<Number> weight(static_cast<std::size_t>(s.keys));
  const Number scale = Number(1) / std::sqrt(static_cast<Number>(s.head_size));
  const auto at = [&](const T* from, int row, int stride, int head, int i) {
    return static_cast<Number>(
        static_cast<float>(from[static_cast<std::ptrdiff_t>(row) * stride + head * s.head_size + i]));
  };
  for (int image = 0; image < s.images; ++image) {
    const int condition = image * s.conditions / s.images;
    for (int head = 0; head < s.heads; ++head) {
      for (int q = 0; q < s.queries; ++q) {
        const int seen = s.causal ? q + 1 : s.keys;
        Number largest = -INFINITY, sum = 0;
        for (int k = 0; k < seen; ++k) {
          Number score = 0;
          for (int i = 0; i < s.head_size; ++i)
            score += at(query, image * s.queries + q, query_stride, head, i) *
                     at(key, condition * s.keys + k, key_value_stride, head, i);
          weight[static_cast<std::size_t>(k)] = score * scale;
          largest = std::max(largest, score * scale);
        }
        for (int k = 0; k < seen; ++k) {
          Number& w = weight[static_cast<std::size_t>(k)];
          w = std::exp(w - largest);
          sum += w;
        }
        for (int i = 0; i < s.head_size; ++i) {
          Number total = 0;
          for (int k = 0; k < seen; ++k)
            total += weight[static_cast<std::size_t>(k)] * at(value, condition * s.keys + k, key_value_stride, head, i);
          out[static_cast<std::size_t>(image * s.queries + q) * width +
              static_cast<std::size_t>(head * s.head_size + i)] = total / sum;
        }
      }
    }
  }
  return out;
}

}  // namespace i2i::cuda
