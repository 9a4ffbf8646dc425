// A vector of floats as wide as the instruction set this file is compiled for, and the few functions that the kernels
// need of it. Included by simd/*.cpp only, each of which is compiled once per instruction set into a namespace of its
// own; nothing with external linkage may come from here.
#pragma once

#include <cstdint>
#include <cstring>

#include "optimized/ops/cpu/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// g++ and clang name it differently.
#if defined(__AMX_TILE__) || defined(__AMXTILE__)
#define I2I_AMX
#endif

#if defined(I2I_AMX)
#define I2I_ISA amx
#define I2I_VECTOR_BYTES 64
#elif defined(__AVX512BF16__)
#define I2I_ISA avx512bf16
#define I2I_VECTOR_BYTES 64
#elif defined(__AVX512VNNI__)
#define I2I_ISA avx512vnni
#define I2I_VECTOR_BYTES 64
#elif defined(__AVX512F__)
#define I2I_ISA avx512
#define I2I_VECTOR_BYTES 64
#elif defined(__AVXVNNI__)
#define I2I_ISA avxvnni
#define I2I_VECTOR_BYTES 32
#elif defined(__AVX2__)
#define I2I_ISA avx2
#define I2I_VECTOR_BYTES 32
#else
#define I2I_ISA baseline
#define I2I_VECTOR_BYTES 16
#endif

namespace i2i::cpu::I2I_ISA {
namespace {

typedef float Vector __attribute__((vector_size(I2I_VECTOR_BYTES)));
typedef float UnalignedVector __attribute__((vector_size(I2I_VECTOR_BYTES), aligned(4), may_alias));
typedef std::int32_t IntVector __attribute__((vector_size(I2I_VECTOR_BYTES)));

constexpr std::int64_t kWidth = I2I_VECTOR_BYTES / 4;

inline Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<UnalignedVector*>(p) = v; }
inline Vector splat(float x) { return x - Vector{}; }  // adding zero would be computed: it makes +0 of -0

/// The first `count` < kWidth floats; the rest are zero, and memory beyond is not touched.
inline Vector load_some(const float* p, std::int64_t count) {
  float lanes[kWidth] = {};
  std::memcpy(lanes, p, static_cast<std::size_t>(count) * sizeof(float));
  return load(lanes);
}
inline void store_some(float* p, Vector v, std::int64_t count) {
  float lanes[kWidth];
  store(lanes, v);
  std::memcpy(p, lanes, static_cast<std::size_t>(count) * sizeof(float));
}

inline Vector choose(IntVector mask, Vector yes, Vector no) { return mask ? yes : no; }
// b where one of them is NaN. Named, since compilers see the one instruction only in some comparisons.
inline Vector maximum(Vector a, Vector b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(
      _mm512_maskz_max_ps(0xffff, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Vector>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  return choose(a > b, a, b);
#endif
}
inline Vector minimum(Vector a, Vector b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vector>(
      _mm512_maskz_min_ps(0xffff, reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Vector>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
  return choose(a < b, a, b);
#endif
}
inline Vector absolute(Vector a) {
  return reinterpret_cast<Vector>(reinterpret_cast<IntVector>(a) & (IntVector{} + 0x7fffffff));
}

/// All lanes by `op`, in halves: a chain through all of them would wait for each. The result is in every lane, or at
/// least in the first.
template <typename V, typename Op>
inline V fold_lanes(V v, const Op& op) {
#if defined(__clang__)  // has no __builtin_shuffle
  for (std::int64_t half = kWidth / 2; half > 0; half /= 2) {
    V other = v;
    for (std::int64_t i = 0; i < half; ++i) other[i] = v[i + half];
    v = op(v, other);
  }
#else
  IntVector lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2) v = op(v, __builtin_shuffle(v, lane ^ half));
#endif
  return v;
}
inline float sum_lanes(Vector v) {
  return fold_lanes(v, [](Vector a, Vector b) { return a + b; })[0];
}
inline double sum_lanes_double(Vector v) {
  double total = 0;
  for (std::int64_t i = 0; i < kWidth; ++i) total += static_cast<double>(v[i]);
  return total;
}
inline float maximum_lane(Vector v) { return fold_lanes(v, maximum)[0]; }

/// e^x to about one unit in the last place near 0, four at the ends: 2^n * e^r with |r| <= ln(2)/2 and e^r by the
/// polynomial of least relative error (Remez; 1.9e-9). NaN stays NaN; x is held in [-87.3, 88], where 2^n is a normal
/// float.
inline Vector exponential(Vector x) {
  const Vector held = minimum(splat(88.0f), maximum(splat(-87.3f), x));
  // 1.5 * 2^23 + 127: adding it rounds, and leaves n with a float's bias of exponents in the lowest bits.
  const Vector magic = splat(12583039.0f);
  const Vector shifted = held * 1.44269504f + magic;
  const Vector r = held - (shifted - magic) * 0.693147181f;
  Vector p = splat(0.00138368141f);
  p = p * r + 0.00837484114f;
  p = p * r + 0.0416682275f;
  p = p * r + 0.166664199f;
  p = p * r + 0.499999921f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * reinterpret_cast<Vector>(reinterpret_cast<IntVector>(shifted) << 23);
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }
inline Vector silu(Vector x) { return x / (1.0f + exponential(-x)); }
inline Vector quick_gelu(Vector x) { return x / (1.0f + exponential(x * -1.702f)); }

/// 1 - erf(a) for a >= 0 by Abramowitz & Stegun 7.1.26: absolute error below 1.5e-7, about a float's last place at 1.
inline Vector complementary_error_function(Vector a) {
  const Vector t = 1.0f / (1.0f + 0.3275911f * a);
  Vector p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  return p * t * exponential(-a * a);
}
/// x * (1 + erf(x / sqrt(2))) / 2. Negative x take the complement itself: 1 + erf would cancel.
inline Vector gelu(Vector x) {
  const Vector half = 0.5f * complementary_error_function(absolute(x) * 0.70710678f);
  return x * choose(x < 0.0f, half, 1.0f - half);
}

}  // namespace

// The kernels of this instruction set; table.cpp gathers them.
void product(const ProductBlock& block);
void finish(const FinishBlock& block);
void attention(const AttentionBlock& block);
void pack_transposed(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t depth,
                     std::int64_t panel_width, float* packed);
void pack_rows(const float* x, std::int64_t stride, std::int64_t depth, std::int64_t columns, std::int64_t panel_width,
               float* packed);
void group_norm_sums(const GroupNormBlock& block);
void group_norm_factors(const GroupNormBlock& block);
void group_norm_normalise(const GroupNormBlock& block);
void layer_norm(const float* x, float* y, std::int64_t rows, std::int64_t width, const float* weight, const float* bias,
                double eps);
void guided_step(const GuidedStepBlock& block);
void winograd_input(const WinogradTiles& tiles);
void winograd_output(const WinogradTiles& tiles);
void winograd_weights(const WinogradWeights& weights);
void quantize_rows(const QuantizeBlock& block);
void int8_product(const Int8ProductBlock& block);
void int8_attention(const Int8AttentionBlock& block);
void pack_int8_keys(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                    std::int64_t panel_width, std::int8_t* packed);
void pack_int8_values(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                      std::int64_t panel_width, std::int8_t* packed, float* scales);
void int8_winograd_input(const Int8WinogradTiles& tiles);
void int8_winograd_output(const Int8WinogradTiles& tiles);
void bf16_rows(const Bf16Rows& rows);
void bf16_product(const Bf16ProductBlock& block);
void bf16_taps(const Bf16TapsBlock& block);
void bf16_attention(const Bf16AttentionBlock& block);
void pack_bf16_keys(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                    std::int64_t key_depth, std::int64_t panel_width, std::uint16_t* packed);
void pack_bf16_values(const float* x, std::int64_t stride, std::int64_t keys, std::int64_t head_size,
                      std::int64_t panel_width, std::uint16_t* packed);
double multiply_add_chains(std::int64_t rounds, float* sink);
double int8_dot_chains(std::int64_t rounds, float* sink);
double bf16_dot_chains(std::int64_t rounds, float* sink);
void read_memory(const float* from, std::int64_t count, float* sink);

}  // namespace i2i::cpu::I2I_ISA
