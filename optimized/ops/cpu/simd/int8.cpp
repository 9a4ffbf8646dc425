// Products of bytes: unsigned activations, quantized here row by row, times signed weights. Four products and their sum
// are one instruction where the processor has VNNI (vpdpbusd), 16 x 16 sums of 64 are with AMX; elsewhere the same
// integers take four to six.
#include "optimized/ops/cpu/simd/amx_product.h"
#include "optimized/ops/cpu/simd/narrow_product.h"

namespace i2i::cpu::I2I_ISA {
namespace {

// Without VNNI, AVX2 takes the offset of 128 from a row's bytes itself; others take it from the sums.
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(__AVXVNNI__)
#define I2I_SIGNED_ROWS
#endif

#if defined(I2I_SIGNED_ROWS)
/// Four signed bytes in each lane. vpmaddubsw adds two products of unsigned and signed bytes in 16 bits: of 128 and
/// more two may not fit, of magnitudes up to 127 they do, and the sign can go to the other factor.
struct FourBytes {
  __m256i value, magnitude;
};
inline FourBytes four_bytes(IntVector a) {
  __m256i offset = _mm256_set1_epi8(-128);
  asm("" : "+x"(offset));  // else g++ takes it from each element before that is spread over the lanes
  const __m256i value = _mm256_xor_si256(reinterpret_cast<__m256i>(a), offset);
  return {value, _mm256_abs_epi8(value)};
}

/// sum + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3 in each lane.
inline IntVector dot_bytes(IntVector sum, const FourBytes& a, IntVector w) {
  const __m256i signed_w = _mm256_sign_epi8(reinterpret_cast<__m256i>(w), a.value);
  const __m256i pairs = _mm256_maddubs_epi16(a.magnitude, signed_w);
  return sum + reinterpret_cast<IntVector>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#else
using FourBytes = IntVector;
inline FourBytes four_bytes(IntVector a) { return a; }

/// sum + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3 in each lane: four unsigned bytes times four signed ones.
inline IntVector dot_bytes(IntVector sum, IntVector a, IntVector w) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<IntVector>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVXVNNI__)
  return reinterpret_cast<IntVector>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(w)));
#elif defined(__AVX512F__)
  // vpmaddubsw adds two products in 16 bits, which two large ones overflow: with every other byte zero it adds one.
  const IntVector even = a & 0x00ff00ff, odd = a ^ even;
  const __m512i ones = _mm512_set1_epi16(1), weights = reinterpret_cast<__m512i>(w);
  const __m512i first = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(even), weights);
  const __m512i second = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(odd), weights);
  return sum + reinterpret_cast<IntVector>(_mm512_madd_epi16(first, ones)) +
         reinterpret_cast<IntVector>(_mm512_madd_epi16(second, ones));
#else
  return sum + (a & 255) * ((w << 24) >> 24) + ((a >> 8) & 255) * ((w << 16) >> 24) +
         ((a >> 16) & 255) * ((w << 8) >> 24) + ((a >> 24) & 255) * (w >> 24);
#endif
}
#endif

/// sum + a0 * w0 + a1 * w1 in each lane, signed 16-bit words; for AMX each w is a byte with a zero above it.
inline IntVector dot_words(IntVector sum, IntVector a, IntVector w) {
#if defined(I2I_AMX)
  const __m512i words = _mm512_srai_epi16(_mm512_slli_epi16(reinterpret_cast<__m512i>(w), 8), 8);
  return reinterpret_cast<IntVector>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), words));
#elif defined(__AVX512VNNI__)
  return reinterpret_cast<IntVector>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVX512F__)
  return sum +
         reinterpret_cast<IntVector>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVXVNNI__)
  return reinterpret_cast<IntVector>(_mm256_dpwssd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(w)));
#elif defined(__AVX2__)
  return sum +
         reinterpret_cast<IntVector>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(w)));
#else
  return sum + ((a << 16) >> 16) * ((w << 16) >> 16) + (a >> 16) * (w >> 16);
#endif
}

/// What both kinds of integers have in common.
struct IntegerDot {
  using Block = Int8ProductBlock;
#if defined(__AVXVNNI__)
  [[maybe_unused]] static constexpr int kHeight = 6;
#else
  [[maybe_unused]] static constexpr int kHeight = 4;
#endif
  using Sum = IntVector;
  using Row = IntVector;
  static Row row(IntVector a) { return a; }
  static Sum start(const Block& block, std::int64_t column) {
    return block.start != nullptr ? load_ints(block.start + column) : IntVector{};
  }

  template <int Height, int Vectors, bool scaled, bool added, typename SumAt>
  static void keep_scaled(const Block& block, const TileOrigin& origin, const SumAt& sum_at) {
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) {
      const Vector row_scale = splat(scaled ? block.row_scale[origin.row + i] : 1.0f);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const std::int64_t at = origin.column + v * kWidth;
        float* to = block.c + (origin.row + i) * block.c_stride + at;
        Vector value = __builtin_convertvector(sum_at(i, v), Vector) * load(block.column_scale + at);
        if constexpr (scaled) value *= row_scale;
        if constexpr (added) value += load(to);
        store(to, value);
      }
    }
  }
};

struct ByteDot : IntegerDot {
  using Row = FourBytes;
  static Row row(IntVector a) { return four_bytes(a); }
  static Sum dot(Sum sum, const Row& a, IntVector w) { return dot_bytes(sum, a, w); }
#if defined(I2I_SIGNED_ROWS)
  static Sum start(const Block&, std::int64_t) { return IntVector{}; }
#endif
  template <int Height, int Vectors, typename SumAt>
  static void keep(const Block& block, const TileOrigin& origin, const SumAt& sum_at) {
    // Asked once a tile, not once a vector.
    if (block.row_scale != nullptr) return keep_scaled<Height, Vectors, true, false>(block, origin, sum_at);
    keep_scaled<Height, Vectors, false, false>(block, origin, sum_at);
  }

#if defined(I2I_AMX)
  static constexpr bool kTilesAreResults = false;
  template <int sum, int a, int w>
  static void multiply() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(w));
  }
  static Sum total(const Block& block, std::int64_t column, IntVector sum) { return sum + start(block, column); }
#endif
};

struct WordDot : IntegerDot {
  static Sum dot(Sum sum, Row a, IntVector w) { return dot_words(sum, a, w); }
  template <int Height, int Vectors, typename SumAt>
  static void keep(const Block& block, const TileOrigin& origin, const SumAt& sum_at) {
    if (block.accumulate) return keep_scaled<Height, Vectors, true, true>(block, origin, sum_at);
    keep_scaled<Height, Vectors, true, false>(block, origin, sum_at);
  }

#if defined(I2I_AMX)
  template <int sum, int a, int w>
  static void multiply() {
    ByteDot::multiply<sum, a, w>();
  }
#endif
};

#if defined(__AVX512VNNI__) && !defined(I2I_AMX)
/// As a tile of three vectors of words, of which the last is half empty and costs half: what heads of 40 leave.
constexpr int kHalfHeight = 8;
void tile_of_two_and_a_half(const Int8ProductBlock& given, std::int64_t row) {
  const Int8ProductBlock block = given;
  IntVector sum[kHalfHeight][2];
  __m256i half[kHalfHeight];
  const std::uint8_t* a[kHalfHeight];
#pragma GCC unroll 16
  for (int i = 0; i < kHalfHeight; ++i) {
    sum[i][0] = sum[i][1] = IntVector{};
    half[i] = _mm256_setzero_si256();
    a[i] = block.a + (row + i) * block.a_stride;
  }
  const std::int8_t* panel = block.panel;
  for (std::int64_t k = 0; k < 4 * block.groups; k += 4, panel += 4 * block.panel_width) {
    const IntVector first = load_ints(panel), second = load_ints(panel + 64);
    const __m256i third = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 128));
#pragma GCC unroll 16
    for (int i = 0; i < kHalfHeight; ++i) {
      std::int32_t two_words;
      std::memcpy(&two_words, a[i] + k, 4);
      const IntVector x = IntVector{} + two_words;
      sum[i][0] = dot_words(sum[i][0], x, first);
      sum[i][1] = dot_words(sum[i][1], x, second);
      const auto low = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
      half[i] = _mm256_dpwssd_epi32(half[i], reinterpret_cast<__m256i>(low), third);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kHalfHeight; ++i) {
    float* to = block.c + (row + i) * block.c_stride;
    const float scale = block.row_scale[row + i];
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v, to += kWidth) {
      const Vector value = __builtin_convertvector(sum[i][v], Vector) * load(block.column_scale + v * kWidth) * scale;
      store(to, block.accumulate ? load(to) + value : value);
    }
    const __m256 columns = _mm256_mul_ps(_mm256_cvtepi32_ps(half[i]), _mm256_loadu_ps(block.column_scale + 2 * kWidth));
    const __m256 value = _mm256_mul_ps(columns, _mm256_set1_ps(scale));
    _mm256_storeu_ps(to, block.accumulate ? _mm256_add_ps(_mm256_loadu_ps(to), value) : value);
  }
}
#endif

}  // namespace

void int8_product(const Int8ProductBlock& block) {
  if (!block.words) {
#if defined(I2I_AMX)
    if (block.rows >= kTileRows) return amx_product<ByteDot>(block);
#endif
    return narrow_product<ByteDot>(block);
  }
#if defined(I2I_AMX)
  if (block.rows >= kTileRows) return amx_word_product<WordDot>(block);
#elif defined(__AVX512VNNI__)
  if (block.panel_width == 3 * kWidth && block.columns <= 40 && block.rows % kHalfHeight == 0) {
    for (std::int64_t row = 0; row < block.rows; row += kHalfHeight) tile_of_two_and_a_half(block, row);
    return;
  }
#endif
  narrow_product<WordDot>(block);
}

void quantize_rows(const QuantizeBlock& block) {
  const std::int64_t width = block.width, whole = width / kWidth * kWidth;
  const std::int64_t padded = (width + 3) / 4 * 4;
  for (std::int64_t row = 0; row < block.rows; ++row) {
    const float* x = block.x + row * block.stride;
    std::uint8_t* out = block.out + row * block.out_stride;
    // Magnitudes compare like their bits, and NaN is above infinity.
    IntVector highest{};
    for (std::int64_t j = 0; j < whole; j += kWidth) {
      const IntVector bits = load_ints(x + j) & 0x7fffffff;
      highest = bits > highest ? bits : highest;
    }
    if (whole < width) {
      const IntVector bits = reinterpret_cast<IntVector>(load_some(x + whole, width - whole)) & 0x7fffffff;
      highest = bits > highest ? bits : highest;
    }
    const ByteStep step(highest_lane(highest));
    block.scales[row] = step.scale;
    for (std::int64_t j = 0; j < whole; j += kWidth) store_lowest_bytes(out + j, step.quantized(load(x + j)));
    if (whole < width) {
      std::uint8_t bytes[kWidth];
      store_lowest_bytes(bytes, step.quantized(load_some(x + whole, width - whole)));
      std::memcpy(out + whole, bytes, static_cast<std::size_t>(width - whole));
      for (std::int64_t j = width; j < padded; ++j) out[j] = 128;
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
