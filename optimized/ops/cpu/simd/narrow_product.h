// Register tiles of products whose operands are narrower than a float: in each step four bytes of a row meet four bytes
// of each column. A `Dot` says what those bytes are, how they are multiplied and what becomes of the sums:
//   Sum                                      a vector of sums
//   kHeight                                  rows of a tile of two vectors in sixteen registers: one instruction a step
//                                            leaves twelve for sums, several need some for what lies between
//   start(block, column)                     what the sums of kWidth columns begin with
//   dot(sum, a, w)                           one step; `a` is the row's four bytes in every lane
//   keep(block, height, width, sum_at)       finishes a tile; sum_at(i, v) is its Sum of row i and vector v
#pragma once

#include <utility>

#include "optimized/ops/cpu/simd/bytes.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// Where a tile of sums begins in its block.
struct TileOrigin {
  std::int64_t row, column;
};

/// Height rows by Vectors vectors of columns; see product.cpp.
template <typename Dot, int Height, int Vectors>
void narrow_tile(const typename Dot::Block& given, const TileOrigin& place) {
  const typename Dot::Block block = given;  // a copy, which no store below can have changed
  typename Dot::Sum sum[Height][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = Dot::start(block, place.column + v * kWidth);
  }
  const std::uint8_t* a[Height];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) a[i] = block.a + (place.row + i) * block.a_stride;
  const std::int8_t* panel = block.panel + 4 * place.column;
  for (std::int64_t k = 0; k < 4 * block.groups; k += 4, panel += 4 * block.panel_width) {
    IntVector w[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) w[v] = load_ints(panel + v * I2I_VECTOR_BYTES);
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) {
      std::int32_t four;
      std::memcpy(&four, a[i] + k, 4);
      const typename Dot::Row x = Dot::row(IntVector{} + four);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[i][v] = Dot::dot(sum[i][v], x, w[v]);
    }
  }
  Dot::template keep<Height, Vectors>(block, place, [&](int i, int v) { return sum[i][v]; });
}

template <typename Dot, int Vectors, typename Heights>
struct NarrowTiles;
template <typename Dot, int Vectors, int... below>
struct NarrowTiles<Dot, Vectors, std::integer_sequence<int, below...>> {
  using Tile = void (*)(const typename Dot::Block&, const TileOrigin&);
  static constexpr Tile kByHeight[] = {nullptr, narrow_tile<Dot, below + 1, Vectors>...};
};

template <typename Dot, int Vectors, int Height>
void narrow_tiles(const typename Dot::Block& block, std::int64_t column) {
  using Table = NarrowTiles<Dot, Vectors, std::make_integer_sequence<int, Height>>;
  // Rows are shared out evenly (11 as 6 + 5, never 8 + 3): short tiles leave registers idle.
  const std::int64_t count = (block.rows + Height - 1) / Height;
  std::int64_t row = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t end = block.rows * (t + 1) / count;
    Table::kByHeight[end - row](block, {row, column});
    row = end;
  }
}

/// The whole block in vector registers.
template <typename Dot>
void narrow_product(const typename Dot::Block& block) {
#if defined(__AVX512F__)
  switch (block.panel_width / kWidth) {
    case 1:
      return narrow_tiles<Dot, 1, 12>(block, 0);
    case 2:
      return narrow_tiles<Dot, 2, 12>(block, 0);
    case 3:
      return narrow_tiles<Dot, 3, 8>(block, 0);
    default:
      return narrow_tiles<Dot, 4, 6>(block, 0);
  }
#else
  for (std::int64_t column = 0; column < block.panel_width; column += 2 * kWidth) {
    narrow_tiles<Dot, 2, Dot::kHeight>(block, column);
  }
#endif
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA
