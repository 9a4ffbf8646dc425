// Products of bytes: unsigned activations, quantized here row by row, times signed weights. Four products and their sum
// are one instruction where the processor has VNNI (vpdpbusd); elsewhere the same integers take three to six.
#include <cmath>
#include <utility>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/simd/vector.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace i2i::cpu::I2I_ISA {
namespace {

typedef std::int32_t UnalignedIntVector __attribute__((vector_size(I2I_VECTOR_BYTES), aligned(4), may_alias));

inline IntVector load_ints(const void* p) { return *static_cast<const UnalignedIntVector*>(p); }

/// The lowest byte of each lane, kWidth bytes. Written out, since compilers take a conversion of vectors apart.
inline void store_lowest_bytes(std::uint8_t* p, IntVector v) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(v)));
#elif defined(__AVX2__)
  const IntVector low = v & 255;
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(reinterpret_cast<__m256i>(low)),
                                         _mm256_extracti128_si256(reinterpret_cast<__m256i>(low), 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
#else
  for (std::int64_t i = 0; i < kWidth; ++i) p[i] = static_cast<std::uint8_t>(v[i]);
#endif
}

inline std::int32_t highest_lane(IntVector v) {
#if defined(__clang__)  // has no __builtin_shuffle
  std::int32_t highest = v[0];
  for (std::int64_t i = 1; i < kWidth; ++i) highest = v[i] > highest ? v[i] : highest;
  return highest;
#else
  IntVector lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2) {
    const IntVector other = __builtin_shuffle(v, lane ^ half);
    v = other > v ? other : v;
  }
  return v[0];
#endif
}

/// sum + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3 in each lane: four unsigned bytes times four signed ones.
inline IntVector dot(IntVector sum, IntVector a, IntVector w) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<IntVector>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVX512F__) || defined(__AVX2__)
  // vpmaddubsw adds two products in 16 bits, which two large ones overflow: with every other byte zero it adds one.
  const IntVector even = a & 0x00ff00ff, odd = a ^ even;
#if defined(__AVX512F__)
  const __m512i ones = _mm512_set1_epi16(1), weights = reinterpret_cast<__m512i>(w);
  const __m512i first = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(even), weights);
  const __m512i second = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(odd), weights);
  return sum + reinterpret_cast<IntVector>(_mm512_madd_epi16(first, ones)) +
         reinterpret_cast<IntVector>(_mm512_madd_epi16(second, ones));
#else
  const __m256i ones = _mm256_set1_epi16(1), weights = reinterpret_cast<__m256i>(w);
  const __m256i first = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(even), weights);
  const __m256i second = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(odd), weights);
  return sum + reinterpret_cast<IntVector>(_mm256_madd_epi16(first, ones)) +
         reinterpret_cast<IntVector>(_mm256_madd_epi16(second, ones));
#endif
#else
  return sum + (a & 255) * ((w << 24) >> 24) + ((a >> 8) & 255) * ((w << 16) >> 24) +
         ((a >> 16) & 255) * ((w << 8) >> 24) + ((a >> 24) & 255) * (w >> 24);
#endif
}

/// sum + a0 * w0 + a1 * w1 in each lane, signed 16-bit words.
inline IntVector dot_words(IntVector sum, IntVector a, IntVector w) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<IntVector>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVX512F__)
  return sum +
         reinterpret_cast<IntVector>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w)));
#elif defined(__AVX2__)
  return sum +
         reinterpret_cast<IntVector>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(w)));
#else
  return sum + ((a << 16) >> 16) * ((w << 16) >> 16) + (a >> 16) * (w >> 16);
#endif
}

/// Height rows by Vectors vectors of columns; see product.cpp.
template <int Height, int Vectors, bool words>
void tile(const Int8ProductBlock& block, std::int64_t row, std::int64_t column) {
  IntVector sum[Height][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sum[i][v] = block.start != nullptr ? load_ints(block.start + column + v * kWidth) : IntVector{};
    }
  }
  const std::uint8_t* a[Height];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) a[i] = block.a + (row + i) * block.a_stride;
  const std::int8_t* panel = block.panel + 4 * column;
  for (std::int64_t k = 0; k < 4 * block.groups; k += 4, panel += 4 * block.panel_width) {
    IntVector w[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) w[v] = load_ints(panel + v * I2I_VECTOR_BYTES);
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) {
      std::int32_t four;
      std::memcpy(&four, a[i] + k, 4);
      const IntVector x = IntVector{} + four;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        sum[i][v] = words ? dot_words(sum[i][v], x, w[v]) : dot(sum[i][v], x, w[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
    const Vector row_scale = splat(block.row_scale[row + i]);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const std::int64_t at = column + v * kWidth;
      float* to = block.c + (row + i) * block.c_stride + at;
      const Vector exact = __builtin_convertvector(sum[i][v], Vector);
      const Vector value = exact * load(block.column_scale + at) * row_scale;
      store(to, block.accumulate ? load(to) + value : value);
    }
  }
}

using Tile = void (*)(const Int8ProductBlock&, std::int64_t, std::int64_t);

template <int Vectors, bool words, typename Heights>
struct Tiles;
template <int Vectors, bool words, int... below>
struct Tiles<Vectors, words, std::integer_sequence<int, below...>> {
  static constexpr Tile kByHeight[] = {nullptr, tile<below + 1, Vectors, words>...};
};

template <int Vectors, int Height, bool words>
void tiles_of_block(const Int8ProductBlock& block, std::int64_t column) {
  using Table = Tiles<Vectors, words, std::make_integer_sequence<int, Height>>;
  const std::int64_t count = (block.rows + Height - 1) / Height;
  std::int64_t row = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t end = block.rows * (t + 1) / count;
    Table::kByHeight[end - row](block, row, column);
    row = end;
  }
}

template <bool words>
void product_of_block(const Int8ProductBlock& block) {
#if defined(__AVX512F__)
  switch (block.panel_width / kWidth) {
    case 1:
      return tiles_of_block<1, 12, words>(block, 0);
    case 2:
      return tiles_of_block<2, 12, words>(block, 0);
    case 3:
      return tiles_of_block<3, 8, words>(block, 0);
    default:
      return tiles_of_block<4, 6, words>(block, 0);
  }
#else
  for (std::int64_t column = 0; column < block.panel_width; column += 2 * kWidth) {
    tiles_of_block<2, 4, words>(block, column);
  }
#endif
}

}  // namespace

void int8_product(const Int8ProductBlock& block) {
  if (block.words) return product_of_block<true>(block);
  product_of_block<false>(block);
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
    const std::int32_t bits = highest_lane(highest);
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    const bool finite = bits < 0x7f800000, visible = finite && magnitude > 1e-30f;
    block.scales[row] = !finite ? NAN : visible ? magnitude / 127.0f : 0.0f;
    // 1.5 * 2^23 + 128: adding it rounds to the nearest integer, whose byte, raised by 128, is the lowest of the sum.
    const Vector magic = splat(12583040.0f), inverse = splat(visible ? 127.0f / magnitude : 0.0f);
    const auto quantized = [&](Vector value) { return reinterpret_cast<IntVector>(value * inverse + magic); };
    for (std::int64_t j = 0; j < whole; j += kWidth) store_lowest_bytes(out + j, quantized(load(x + j)));
    if (whole < width) {
      std::uint8_t bytes[kWidth];
      store_lowest_bytes(bytes, quantized(load_some(x + whole, width - whole)));
      std::memcpy(out + whole, bytes, static_cast<std::size_t>(width - whole));
      for (std::int64_t j = width; j < padded; ++j) out[j] = 128;
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
