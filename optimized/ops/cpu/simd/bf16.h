// Floats to bfloat16: rows of activations, softmax weights, keys and values.
#pragma once

#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

typedef std::uint16_t HalfWords __attribute__((vector_size(I2I_VECTOR_BYTES / 2), aligned(2), may_alias));

/// Each lane's nearest bfloat16 in its lower half, ties to even: as bits, half of what is cut off is added, and one
/// less where the last bit that stays is zero. NaN stays NaN, which the addition could carry over to zero.
inline IntVector rounded_to_bf16(Vector x) {
  const IntVector bits = reinterpret_cast<IntVector>(x);
  const IntVector rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return ((x != x ? bits | 0x400000 : rounded) >> 16) & 0xffff;
}

/// kWidth of them.
inline void store_bf16(std::uint16_t* p, Vector x) {
#if defined(__AVX512BF16__)
  const __m256bh words = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(words));
#elif defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(rounded_to_bf16(x))));
#else
  *reinterpret_cast<HalfWords*>(p) = __builtin_convertvector(rounded_to_bf16(x), HalfWords);
#endif
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
