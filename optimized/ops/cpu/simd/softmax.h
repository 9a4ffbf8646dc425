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

/// e^x for x <= 0: half the work of `exponential`. 2^n * e^r, with e^r by the polynomial of least relative error on
/// |r| <= ln(2)/2 (Remez; 1.9e-9). ln 2 in one part: its rounding moves the result less than that of x itself does. NaN
/// stays NaN; below -86.6 all is e^-86.6, 2e-38.
inline Vector exponential_of_at_most_zero(Vector x) {
  const Vector lowest = splat(-86.6f);
  const Vector held = choose(lowest > x, lowest, x);
  const Vector magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds, and leaves the integer in the lowest bits
  const Vector shifted = held * 1.44269504f + magic;
  const Vector r = held - (shifted - magic) * 0.693147181f;
  Vector p = splat(0.00138368141f);
  p = p * r + 0.00837484114f;
  p = p * r + 0.0416682275f;
  p = p * r + 0.166664199f;
  p = p * r + 0.499999921f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * reinterpret_cast<Vector>((reinterpret_cast<IntVector>(shifted) << 23) + (127 << 23));
}

/// The first `count` lanes of v; the rest zero.
inline Vector first_lanes(Vector v, std::int64_t count) {
  IntVector lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
  return choose(lane < static_cast<std::int32_t>(count), v, Vector{});
}

/// Gives exp(scale * score - highest) of the first `visible` of `count` scores, and zero for the rest, to
/// keep(first of kWidth lanes, values), whole vectors at a time: rows are padded to whole vectors. `state` moves on to
/// the new highest score. @return by what everything seen before has to be multiplied
template <typename Keep>
float softmax_block(const float* scores, std::int64_t visible, std::int64_t count, float scale, SoftmaxState& state,
                    const Keep& keep) {
  std::int64_t j = 0;
  if (visible <= 0) {
    for (; j < count; j += kWidth) keep(j, Vector{});
    return 1;
  }
  constexpr int kChains = 4;  // of comparisons that do not wait for each other
  Vector best[kChains];
  for (Vector& one : best) one = splat(scores[0]);
  for (; j + kChains * kWidth <= visible; j += kChains * kWidth) {
#pragma GCC unroll 4
    for (int v = 0; v < kChains; ++v) best[v] = maximum(best[v], load(scores + j + v * kWidth));
  }
  for (; j + kWidth <= visible; j += kWidth) best[0] = maximum(best[0], load(scores + j));
  float highest = maximum_lane(maximum(maximum(best[0], best[1]), maximum(best[2], best[3])));
  for (; j < visible; ++j) highest = scores[j] > highest ? scores[j] : highest;
  highest *= scale;
  if (highest < state.highest) highest = state.highest;
  const float correction = state.sum == 0 ? 0 : exponential_of_at_most_zero(splat(state.highest - highest))[0];

  const Vector shift = splat(highest);
  Vector sum{};
  for (j = 0; j + kWidth <= visible; j += kWidth) {
    const Vector e = exponential_of_at_most_zero(load(scores + j) * scale - shift);
    keep(j, e);
    sum += e;
  }
  if (j < visible) {
    const Vector e = first_lanes(exponential_of_at_most_zero(load(scores + j) * scale - shift), visible - j);
    keep(j, e);
    sum += e;
    j += kWidth;
  }
  for (; j < count; j += kWidth) keep(j, Vector{});
  state.highest = highest;
  state.sum = state.sum * correction + sum_lanes(sum);
  return correction;
}

void scale_row(float* row, std::int64_t count, float factor) {
  for (std::int64_t j = 0; j < count; j += kWidth) store(row + j, load(row + j) * factor);
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
