// The softmax of a row of scores that come in blocks (Milakov & Gimelshein 2018, arXiv:1805.02867), for all
// attentions.
#pragma once

#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// What one query has seen so far.
struct SoftmaxState {
  float highest = -3.0e38f;  ///< of the scaled scores, or a little more
  float sum = 0;
};

/// 2^x for x <= 0, as 2^n * 2^r with |r| <= 1/2 and 2^r by the polynomial of least relative error (Remez): degree 6 is
/// off by 1.9e-9; degree 4, by 2.6e-6, serves where the result is rounded to 15 bits. A softmax in powers of two takes
/// its logarithm's factor into the scale of the scores, where it costs nothing. NaN stays NaN. Far below zero the
/// result is zero, or 2^-125 without AVX-512, whose own instructions for n and 2^n save a tenth of a softmax's time; of
/// minus infinity too, where r is NaN: scalef makes zero of that.
template <int degree>
inline Vector power_of_two_of_at_most_one(Vector x) {
  static_assert(degree == 4 || degree == 6);
#if defined(__AVX512F__)
  const __m512 n =
      _mm512_maskz_roundscale_ps(0xffff, reinterpret_cast<__m512>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vector r = x - reinterpret_cast<Vector>(n);
#else
  const Vector held = maximum(splat(-125.0f), x);
  // 1.5 * 2^23 + 127: adding it rounds, and leaves n with a float's bias of exponents in the lowest bits.
  const Vector magic = splat(12583039.0f);
  const Vector shifted = held + magic;
  const Vector r = held - (shifted - magic);
#endif
  Vector p;
  if constexpr (degree == 4) {
    p = splat(0.00957010191f);
    p = p * r + 0.0559178603f;
    p = p * r + 0.240247448f;
    p = p * r + 0.693121815f;
    p = p * r + 0.999999261f;
  } else {
    p = splat(0.00015345812f);
    p = p * r + 0.00133999312f;
    p = p * r + 0.00961848896f;
    p = p * r + 0.0555032878f;
    p = p * r + 0.240226469f;
    p = p * r + 0.693147206f;
    p = p * r + 1.0f;
  }
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(_mm512_maskz_scalef_ps(0xffff, reinterpret_cast<__m512>(p), n));
#else
  return p * reinterpret_cast<Vector>(reinterpret_cast<IntVector>(shifted) << 23);
#endif
}

/// The first `count` lanes of v, and `rest` beyond.
inline Vector first_lanes(Vector v, std::int64_t count, Vector rest) {
  IntVector lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
  return choose(lane < static_cast<std::int32_t>(count), v, rest);
}

constexpr float kLog2E = 1.44269504f;

/// Gives 2^(scale * score - highest) of the first `visible` of `count` scores, and zero for the rest, to
/// keep(first of kWidth lanes, values), whole vectors at a time: rows are padded to whole vectors. `state` moves on to
/// the new highest score. @tparam degree  see power_of_two_of_at_most_one  @return by what everything seen before has
/// to be multiplied
template <int degree, typename Keep>
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
  if (j < visible) best[1] = maximum(best[1], first_lanes(load(scores + j), visible - j, best[1]));
  float highest = maximum_lane(maximum(maximum(best[0], best[1]), maximum(best[2], best[3]))) * scale;
  highest += (highest < 0 ? -highest : highest) * 1.2e-7f;  // no weight above 1, which words could not hold
  if (highest < state.highest) highest = state.highest;
  const float correction = state.sum == 0 ? 0 : power_of_two_of_at_most_one<degree>(splat(state.highest - highest))[0];

  const Vector shift = splat(highest);
  const auto weights = [&](std::int64_t at) {
    return power_of_two_of_at_most_one<degree>(load(scores + at) * scale - shift);
  };
  Vector sum{};
  for (j = 0; j + kWidth <= visible; j += kWidth) {
    const Vector e = weights(j);
    keep(j, e);
    sum += e;
  }
  if (j < visible) {
    const Vector e = first_lanes(weights(j), visible - j, Vector{});
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

/// The mean of the values that a row has been weighted to.
void finish_attention_row(const float* sums, std::int64_t head_size, const SoftmaxState& state, float* out) {
  const float inverse = 1.0f / state.sum;
  std::int64_t j = 0;
  for (; j + kWidth <= head_size; j += kWidth) store(out + j, load(sums + j) * inverse);
  for (; j < head_size; ++j) out[j] = sums[j] * inverse;
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
