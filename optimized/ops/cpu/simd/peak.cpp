// What the processor can do at best, as loops without anything else: chains of fused multiply-adds, of products of
// bytes and of bfloat16 where there are any, and reading memory. The roofline (Williams et al. 2009) that operators are
// measured against.
#include "optimized/ops/cpu/simd/amx_product.h"
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// Independent chains, enough to hide the latency of two units; they and two operands fill the register file.
#if defined(__AVX512F__)
constexpr int kChains = 24;
#else
constexpr int kChains = 12;
#endif

#if defined(I2I_AMX)
/// @tparam products  of one instruction  @param four  four of them, into registers 0 to 3
template <int products, typename Four>
double tile_chains(std::int64_t rounds, float* sink, const Four& four) {
  shape_tiles();
  clear_sums<2, 2>();
  alignas(64) std::uint8_t zeros[16][64] = {};
  _tile_loadd(4, zeros, 64);
  _tile_loadd(5, zeros, 64);
  _tile_loadd(6, zeros, 64);
  _tile_loadd(7, zeros, 64);
  for (std::int64_t round = 0; round < rounds; ++round) four();
  alignas(64) float sums[32][32];
  store_sums<2, 2>(sums, sizeof sums[0]);
  *sink = sums[0][0];
  return 2.0 * 4 * products * static_cast<double>(rounds);
}
#elif defined(__AVX512F__)
using Bytes = __m512i;
#define I2I_DOT_TARGET __attribute__((target("avx512vnni")))
inline Bytes bytes_of(std::int64_t value) { return _mm512_set1_epi8(static_cast<char>(value)); }
#elif defined(__AVX2__)
using Bytes = __m256i;
#define I2I_DOT_TARGET
inline Bytes bytes_of(std::int64_t value) { return _mm256_set1_epi8(static_cast<char>(value)); }
#endif

#if defined(__AVX2__) && !defined(I2I_AMX)
I2I_DOT_TARGET double dot_product_chains(std::int64_t rounds, float* sink) {
  Bytes sums[kChains];
  const Bytes a = bytes_of(3), b = bytes_of(rounds);
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sums[i] = bytes_of(i);
  for (std::int64_t round = 0; round < rounds; ++round) {
    // Said in assembly: g++ 12 takes the sums of its builtin to the stack and back, which halves what is measured.
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) {
#if defined(__AVX512F__)
      asm("vpdpbusd %2, %1, %0" : "+v"(sums[i]) : "v"(a), "v"(b));
#elif defined(__AVXVNNI__)
      asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums[i]) : "x"(a), "x"(b));
#else
      Bytes product;  // as int8.cpp takes it
      asm("vpsignb %2, %3, %1\n\tvpmaddubsw %1, %2, %1\n\tvpmaddwd %2, %1, %1\n\tvpaddd %1, %0, %0"
          : "+x"(sums[i]), "=&x"(product)
          : "x"(a), "x"(b));
#endif
    }
  }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sums[0] = sums[0] ^ sums[i];
  *sink = static_cast<float>(reinterpret_cast<IntVector>(sums[0])[0]);
  return 2.0 * kChains * 4 * kWidth * static_cast<double>(rounds);  // four products a lane
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
#if defined(I2I_AMX)
  return tile_chains<16 * 16 * 64>(rounds, sink, [] {
    asm volatile(
        "tdpbusd %tmm6, %tmm4, %tmm0\n\ttdpbusd %tmm7, %tmm4, %tmm1\n\t"
        "tdpbusd %tmm6, %tmm5, %tmm2\n\ttdpbusd %tmm7, %tmm5, %tmm3");
  });
#elif defined(__AVX512F__)
  if (__builtin_cpu_supports("avx512vnni")) return dot_product_chains(rounds, sink);
#elif defined(__AVX2__)
  return dot_product_chains(rounds, sink);
#endif
  *sink = static_cast<float>(rounds);
  return 0;
}

double bf16_dot_chains(std::int64_t rounds, float* sink) {
#if defined(I2I_AMX)
  return tile_chains<16 * 16 * 32>(rounds, sink, [] {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  });
#elif defined(__AVX512BF16__)
  __m512 sums[kChains];
  const __m512 zeros = _mm512_set1_ps(0);
#pragma GCC unroll 24
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) asm("vdpbf16ps %1, %1, %0" : "+v"(sums[i]) : "v"(zeros));
  }
#pragma GCC unroll 24
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_maskz_add_ps(0xffff, sums[0], sums[i]);
  *sink = sum_lanes(reinterpret_cast<Vector>(sums[0]));
  return 2.0 * kChains * 2 * kWidth * static_cast<double>(rounds);  // two products a lane
#else
  *sink = static_cast<float>(rounds);
  return 0;
#endif
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
