// Floats to bytes, for everything that quantizes: rows, and the planes of Winograd's tiles.
#pragma once

#include <cmath>

#include "optimized/ops/cpu/simd/vector.h"

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

inline IntVector higher(IntVector a, IntVector b) { return b > a ? b : a; }
inline std::int32_t highest_lane(IntVector v) { return fold_lanes(v, higher)[0]; }

/// The step that takes magnitudes up to a largest one to 127.
struct ByteStep {
  float scale;    ///< one step; NaN where the largest magnitude is no finite number
  float inverse;  ///< 0 where all is zero, or nothing can be held

  /// @param bits  of the largest magnitude
  explicit ByteStep(std::int32_t bits) {
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    const bool finite = bits < 0x7f800000, visible = finite && magnitude > 1e-30f;
    scale = !finite ? NAN : visible ? magnitude / 127.0f : 0.0f;
    inverse = visible ? 127.0f / magnitude : 0.0f;
  }

  /// 128 + round(value / scale) as the lowest byte of each lane: 1.5 * 2^23 + 128 rounds to the nearest integer, whose
  /// byte, raised by 128, is the lowest of the sum.
  IntVector quantized(Vector value) const {
    return reinterpret_cast<IntVector>(value * splat(inverse) + splat(12583040.0f));
  }
};

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
