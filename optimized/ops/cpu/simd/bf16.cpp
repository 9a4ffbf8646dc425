// Products of bfloat16 with sums in float32: a pair of products and their sum in one instruction where the processor
// has AVX512_BF16 (vdpbf16ps), 16 x 16 sums of 32 products where it has AMX; elsewhere the pair is widened and
// multiplied.
#include "optimized/ops/cpu/simd/bf16.h"

#include "optimized/ops/cpu/simd/amx_product.h"
#include "optimized/ops/cpu/simd/narrow_product.h"

namespace i2i::cpu::I2I_ISA {
namespace {

struct Bf16Dot {
  using Block = Bf16ProductBlock;
  [[maybe_unused]] static constexpr int kHeight = 4;
  using Sum = Vector;

#if defined(__AVX512BF16__)
  using Row = IntVector;
  static Row row(IntVector a) { return a; }
  static Sum dot(Sum sum, Row a, IntVector w) {
    return reinterpret_cast<Sum>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(w)));
  }
#else
  /// A bfloat16 is the upper half of a float.
  struct Row {
    Vector first, second;
  };
  static Row row(IntVector a) {
    return {reinterpret_cast<Vector>(a << 16), reinterpret_cast<Vector>(a & static_cast<std::int32_t>(0xffff0000))};
  }
  static Sum dot(Sum sum, const Row& a, IntVector w) {
    const Row columns = row(w);
    return sum + a.first * columns.first + a.second * columns.second;
  }
#endif

  static Sum start(const Block&, std::int64_t) { return Sum{}; }

  template <int Height, int Vectors, typename SumAt>
  static void keep(const Block& block, const TileOrigin& place, const SumAt& sum_at) {
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        float* to = block.c + (place.row + i) * block.c_stride + place.column + v * kWidth;
        store(to, block.accumulate ? load(to) + sum_at(i, v) : sum_at(i, v));
      }
    }
  }

#if defined(I2I_AMX)
  static constexpr bool kTilesAreResults = true;
  template <int sum, int a, int w>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(w));
  }
  static Sum total(const Block&, std::int64_t, IntVector sum) { return reinterpret_cast<Sum>(sum); }
#endif
};

}  // namespace

void bf16_product(const Bf16ProductBlock& block) {
#if defined(I2I_AMX)
  if (block.rows >= kTileRows) return amx_product<Bf16Dot>(block);
#endif
  narrow_product<Bf16Dot>(block);
}

void bf16_taps(const Bf16TapsBlock& block) {
#if defined(I2I_AMX)
  amx_taps<Bf16Dot>(block);
#else
  Bf16ProductBlock one = block;
  one.rows = kTilePixels;
  for (std::int64_t tile = 0; tile < block.rows / kTilePixels; ++tile) {
    one.c = block.c + tile * kTilePixels * block.c_stride;
    for (std::int64_t tap = 0; tap < block.tap_count; ++tap) {
      one.a = block.tiles[tile] + block.taps[tap];
      one.panel = block.panel + tap * 4 * block.groups * block.panel_width;
      one.accumulate = block.accumulate || tap > 0;
      narrow_product<Bf16Dot>(one);
    }
  }
#endif
}

void bf16_rows(const Bf16Rows& rows) {
  const std::int64_t whole = rows.width / kWidth * kWidth,
                     padded = (rows.width + kBf16StepDepth - 1) / kBf16StepDepth * kBf16StepDepth;
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const float* x = rows.x + row * rows.stride;
    std::uint16_t* out = rows.out + row * rows.out_stride;
    for (std::int64_t j = 0; j < whole; j += kWidth) store_bf16(out + j, load(x + j));
    std::int64_t j = whole;
    if (j < rows.width) {
      store_bf16(out + j, load_some(x + j, rows.width - j));
      j += kWidth;
    }
    for (; j < padded; j += kWidth) store_bf16(out + j, Vector{});
  }
}

}  // namespace i2i::cpu::I2I_ISA
