// The softmax of a row of scores that come in blocks (Milakov & Gimelshein 2018, arXiv:1805.02867), for both
// attentions.
#pragma once

#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// What one query has seen so far.
struct SoftmaxState {
  float highest = -3.0e38f;  ///< of the scaled scores
  float sum = 0;
};

/// exp(scale * score - highest) for the first `visible` of `count` scores in place, zero for the rest. `state` moves on
/// to the new highest score. @return by what everything seen before has to be multiplied
float softmax_block(float* scores, std::int64_t visible, std::int64_t count, float scale, SoftmaxState& state) {
  std::int64_t j = 0;
  if (visible <= 0) {
    for (; j < count; ++j) scores[j] = 0;
    return 1;
  }
  Vector best = splat(scores[0]);
  for (; j + kWidth <= visible; j += kWidth) best = maximum(best, load(scores + j));
  float highest = maximum_lane(best);
  for (; j < visible; ++j) highest = scores[j] > highest ? scores[j] : highest;
  highest *= scale;
  if (highest < state.highest) highest = state.highest;
  const float correction = state.sum == 0 ? 0 : exponential(splat(state.highest - highest))[0];

  const Vector shift = splat(highest);
  Vector sum{};
  for (j = 0; j + kWidth <= visible; j += kWidth) {
    const Vector e = exponential(load(scores + j) * scale - shift);
    store(scores + j, e);
    sum += e;
  }
  if (j < visible) {
    float lanes[kWidth] = {};
    store(lanes, exponential(load_some(scores + j, visible - j) * scale - shift));
    // Keys beyond the end weigh nothing: exponential of a very low score would be 1e-38.
    for (std::int64_t i = visible - j; i < kWidth; ++i) lanes[i] = 0;
    store_some(scores + j, load(lanes), visible - j);
    sum += load(lanes);
  }
  for (j = visible; j < count; ++j) scores[j] = 0;
  state.highest = highest;
  state.sum = state.sum * correction + sum_lanes(sum);
  return correction;
}

void scale_row(float* row, std::int64_t count, float factor) {
  for (std::int64_t j = 0; j < count; j += kWidth) store(row + j, load(row + j) * factor);
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
