// What the processor can do at best, as loops without anything else: chains of fused multiply-adds, of int8 dot
// products where there are any, and reading memory. The roofline (Williams et al. 2009) that operators are measured
// against.
#include "optimized/ops/cpu/simd/vector.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace i2i::cpu::I2I_ISA {
namespace {

/// Independent chains, enough to hide the latency of two units; they and two operands fill the register file.
#if defined(__AVX512F__)
constexpr int kChains = 24;
#else
constexpr int kChains = 12;
#endif

#if defined(__AVX512F__)
__attribute__((target("avx512vnni"))) void dot_product_chains(std::int64_t rounds, float* sink) {
  __m512i sums[kChains];
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(static_cast<char>(rounds));
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_epi32(i);
  for (std::int64_t round = 0; round < rounds; ++round) {
    // Said in assembly: g++ 12 takes the sums of its builtin to the stack and back, which halves what is measured.
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) asm("vpdpbusd %2, %1, %0" : "+v"(sums[i]) : "v"(a), "v"(b));
  }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  std::int32_t lanes[16];
  _mm512_storeu_si512(lanes, sums[0]);
  *sink = static_cast<float>(lanes[0]);
}
#endif

}  // namespace

double multiply_add_chains(std::int64_t rounds, float* sink) {
  Vector sums[kChains];
  const Vector a = splat(0.999999f), b = splat(1e-6f * static_cast<float>(rounds));
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sums[i] = splat(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * a + b;
  }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  *sink = sum_lanes(sums[0]);
  return 2.0 * kChains * kWidth * static_cast<double>(rounds);
}

double int8_dot_chains(std::int64_t rounds, float* sink) {
#if defined(__AVX512F__)
  if (__builtin_cpu_supports("avx512vnni")) {
    dot_product_chains(rounds, sink);
    return 2.0 * kChains * 4 * kWidth * static_cast<double>(rounds);  // four products a lane
  }
#endif
  *sink = static_cast<float>(rounds);
  return 0;
}

void read_memory(const float* from, std::int64_t count, float* sink) {
  Vector sums[8] = {};
  for (std::int64_t i = 0; i + 8 * kWidth <= count; i += 8 * kWidth) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) sums[k] += load(from + i + k * kWidth);
  }
  for (int k = 1; k < 8; ++k) sums[0] += sums[k];
  *sink = sum_lanes(sums[0]);
}

}  // namespace i2i::cpu::I2I_ISA
