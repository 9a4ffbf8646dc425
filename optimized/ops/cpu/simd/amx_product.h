// The products of narrow_product.h in AMX's tile registers: 16 rows by 64 bytes times 64 bytes by 16 columns in one
// instruction (Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter "Intel AMX"). Two tiles of rows
// by two of columns fill four of the eight registers with sums, and each operand loaded is used twice.
#pragma once

#include "optimized/ops/cpu/simd/narrow_product.h"

#if defined(I2I_AMX)

namespace i2i::cpu::I2I_ISA {
namespace {

constexpr std::int64_t kTileRows = 16, kTileGroups = 16, kTileBytes = 64;

/// What LDTILECFG reads: palette 1, all eight registers 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

/// This thread's tile registers in our shapes. Other libraries set and release theirs on the same threads, so it is
/// asked each time: asking takes a twentieth of setting.
inline void shape_tiles() {
  static constexpr TileShapes kWanted;
  TileShapes found;
  _tile_storeconfig(&found);
  if (std::memcmp(&found, &kWanted, sizeof found) != 0) _tile_loadconfig(&kWanted);
}

/// The last groups of a panel where they fill no tile, with zeros below: one tile for each 16 columns.
struct PanelTail {
  alignas(64) std::int8_t bytes[kMaxPanelWidth / 16][kTileGroups][kTileBytes];

  PanelTail(const NarrowProductBlock& block, std::int64_t groups) {
    if (groups == 0) return;
    const std::int8_t* from = block.panel + (block.groups - groups) * 4 * block.panel_width;
    for (std::int64_t tile = 0; tile < block.panel_width / 16; ++tile) {
      for (std::int64_t g = 0; g < kTileGroups; ++g) {
        if (g < groups) {
          std::memcpy(bytes[tile][g], from + g * 4 * block.panel_width + tile * kTileBytes, kTileBytes);
        } else {
          std::memset(bytes[tile][g], 0, kTileBytes);
        }
      }
    }
  }
};

/// Lines that come to the second-level cache meanwhile, so many with each step.
struct Ahead {
  const std::int8_t* at;
  std::int64_t lines;

  /// @param steps  of the whole block
  Ahead(const NarrowProductBlock& block, std::int64_t steps)
      : at(block.next), lines(block.next == nullptr ? 0 : (block.next_bytes / kTileBytes + steps - 1) / steps) {}
  void step() {
    for (std::int64_t line = 0; line < lines; ++line, at += kTileBytes) __builtin_prefetch(at, 0, 2);
  }
};

/// Sums of 16 * Down rows by 16 * Across columns in tile registers 0 to 3; `a_second` bytes after the first 16 rows are
/// the second. `Dot::multiply<sum, a, w>` is the
/// instruction, in assembly: g++'s intrinsic takes literals only.
template <typename Dot, int Down, int Across>
inline void sum_tiles(const std::uint8_t* a, std::int64_t a_stride, std::int64_t a_second, const std::int8_t* panel,
                      std::int64_t panel_stride, std::int64_t whole, const std::int8_t (*tail)[kTileGroups][kTileBytes],
                      Ahead& ahead) {
  // Registers are named by constants: 2 * row + column for sums, 4 and 5 for rows, 6 and 7 for columns.
  const auto step = [&](const std::int8_t* first, const std::int8_t* second, std::int64_t stride) {
    _tile_loadd(4, a, a_stride);
    _tile_loadd(6, first, stride);
    Dot::template multiply<0, 4, 6>();
    if constexpr (Across == 2) {
      _tile_loadd(7, second, stride);
      Dot::template multiply<1, 4, 7>();
    }
    if constexpr (Down == 2) {
      _tile_loadd(5, a + a_second, a_stride);
      Dot::template multiply<2, 5, 6>();
      if constexpr (Across == 2) Dot::template multiply<3, 5, 7>();
    }
    a += kTileBytes;
    ahead.step();
  };
  for (std::int64_t k = 0; k < whole; ++k, panel += kTileGroups * panel_stride) {
    step(panel, panel + kTileBytes, panel_stride);
  }
  if (tail != nullptr) step(tail[0][0], tail[Across - 1][0], kTileBytes);
}

/// The sums of registers 0 to 3 from or to memory. @param stride  bytes from row to row
template <int Down, int Across>
inline void load_sums(const void* from, std::int64_t stride) {
  const auto* bytes = static_cast<const std::uint8_t*>(from);
  _tile_loadd(0, bytes, stride);
  if constexpr (Across == 2) _tile_loadd(1, bytes + kTileBytes, stride);
  if constexpr (Down == 2) _tile_loadd(2, bytes + kTileRows * stride, stride);
  if constexpr (Down == 2 && Across == 2) _tile_loadd(3, bytes + kTileRows * stride + kTileBytes, stride);
}
template <int Down, int Across>
inline void store_sums(void* to, std::int64_t stride) {
  auto* bytes = static_cast<std::uint8_t*>(to);
  _tile_stored(0, bytes, stride);
  if constexpr (Across == 2) _tile_stored(1, bytes + kTileBytes, stride);
  if constexpr (Down == 2) _tile_stored(2, bytes + kTileRows * stride, stride);
  if constexpr (Down == 2 && Across == 2) _tile_stored(3, bytes + kTileRows * stride + kTileBytes, stride);
}
template <int Down, int Across>
inline void clear_sums() {
  _tile_zero(0);
  if constexpr (Across == 2) _tile_zero(1);
  if constexpr (Down == 2) _tile_zero(2);
  if constexpr (Down == 2 && Across == 2) _tile_zero(3);
}

template <typename Dot, int Down, int Across>
void amx_tiles(const typename Dot::Block& block, const TileOrigin& origin, std::int64_t first_new,
               const PanelTail* tail, Ahead& ahead) {
  const auto sum = [&] {
    sum_tiles<Dot, Down, Across>(block.a + origin.row * block.a_stride, block.a_stride, kTileRows * block.a_stride,
                                 block.panel + 4 * origin.column, 4 * block.panel_width, block.groups / kTileGroups,
                                 tail == nullptr ? nullptr : tail->bytes + origin.column / 16, ahead);
  };
  if constexpr (Dot::kTilesAreResults) {
    if (first_new == 0) {
      float* c = block.c + origin.row * block.c_stride + origin.column;
      if (block.accumulate) {
        load_sums<Down, Across>(c, 4 * block.c_stride);
      } else {
        clear_sums<Down, Across>();
      }
      sum();
      return store_sums<Down, Across>(c, 4 * block.c_stride);
    }
  }
  clear_sums<Down, Across>();
  sum();
  alignas(64) std::int32_t sums[Down * 16][Across * 16];
  store_sums<Down, Across>(sums, sizeof sums[0]);
  for (std::int64_t i = first_new; i < Down * 16; ++i) {
    Dot::template keep<1, Across>(block, {origin.row + i, origin.column}, [&](int, int v) {
      return Dot::total(block, origin.column + v * kWidth, load_ints(sums[i] + v * kWidth));
    });
  }
}

template <typename Dot, int Down>
void amx_rows(const typename Dot::Block& block, std::int64_t row, std::int64_t first_new, const PanelTail* tail,
              Ahead& ahead) {
  std::int64_t column = 0;
  for (; column + 32 <= block.panel_width; column += 32) {
    amx_tiles<Dot, Down, 2>(block, {row, column}, first_new, tail, ahead);
  }
  if (column < block.panel_width) amx_tiles<Dot, Down, 1>(block, {row, column}, first_new, tail, ahead);
}

/// The whole block; at least 16 rows. The last tile of rows that fill none begins earlier: what it computes anew is
/// what stands there.
template <typename Dot>
void amx_product(const typename Dot::Block& block) {
  shape_tiles();
  const std::int64_t rest = block.groups % kTileGroups;
  const PanelTail panel_tail(block, rest);
  const PanelTail* tail = rest == 0 ? nullptr : &panel_tail;
  const std::int64_t tiles = (block.rows + 31) / 32 * ((block.panel_width + 31) / 32);
  Ahead ahead(block, tiles * ((block.groups + kTileGroups - 1) / kTileGroups));
  std::int64_t row = 0;
  for (; row + 32 <= block.rows; row += 32) amx_rows<Dot, 2>(block, row, 0, tail, ahead);
  for (; row < block.rows; row += 16) {
    const std::int64_t from = row + 16 <= block.rows ? row : block.rows - 16;
    amx_rows<Dot, 1>(block, from, row - from, tail, ahead);
  }
}

template <typename Dot, int Down, int Across>
void amx_tap_tiles(const Bf16TapsBlock& block, std::int64_t tile, std::int64_t column, Ahead& ahead) {
  float* c = block.c + tile * kTileRows * block.c_stride + column;
  if (block.accumulate) {
    load_sums<Down, Across>(c, 4 * block.c_stride);
  } else {
    clear_sums<Down, Across>();
  }
  const std::uint8_t* first = block.tiles[tile];
  const std::int64_t second = Down == 2 ? block.tiles[tile + 1] - first : 0;
  const std::int8_t* panel = block.panel + 4 * column;
  for (std::int64_t tap = 0; tap < block.tap_count; ++tap, panel += 4 * block.groups * block.panel_width) {
    sum_tiles<Dot, Down, Across>(first + block.taps[tap], block.a_stride, second, panel, 4 * block.panel_width,
                                 block.groups / kTileGroups, nullptr, ahead);
  }
  store_sums<Down, Across>(c, 4 * block.c_stride);
}

template <typename Dot>
void amx_taps(const Bf16TapsBlock& block) {
  static_assert(kTileRows == kTilePixels);
  shape_tiles();
  const std::int64_t tiles = block.rows / kTileRows;
  Ahead ahead(block, (tiles + 1) / 2 * ((block.panel_width + 31) / 32) * block.tap_count * block.groups / kTileGroups);
  for (std::int64_t tile = 0; tile < tiles; tile += 2) {
    for (std::int64_t column = 0; column < block.panel_width; column += 32) {
      const bool two_down = tile + 1 < tiles, two_across = column + 32 <= block.panel_width;
      const auto multiply = two_down ? (two_across ? amx_tap_tiles<Dot, 2, 2> : amx_tap_tiles<Dot, 2, 1>)
                                     : (two_across ? amx_tap_tiles<Dot, 1, 2> : amx_tap_tiles<Dot, 1, 1>);
      multiply(block, tile, column, ahead);
    }
  }
}

/// Words times bytes: the lower and the upper bytes of 16 rows of words, one address apart, are the two tiles of rows.
/// @tparam Dot  its `columns` are bytes with a zero after each
template <typename Dot, int Across>
void amx_word_tiles(const typename Dot::Block& block, const TileOrigin& origin, std::int64_t first_new,
                    const PanelTail* tail, Ahead& ahead) {
  clear_sums<2, Across>();
  sum_tiles<Dot, 2, Across>(block.a + origin.row * block.a_stride, block.a_stride, 1, block.panel + 4 * origin.column,
                            4 * block.panel_width, block.groups / kTileGroups,
                            tail == nullptr ? nullptr : tail->bytes + origin.column / 16, ahead);
  alignas(64) std::int32_t sums[2][kTileRows][Across * 16];
  store_sums<2, Across>(sums, sizeof sums[0][0]);
  for (std::int64_t i = first_new; i < kTileRows; ++i) {
    Dot::template keep<1, Across>(block, {origin.row + i, origin.column}, [&](int, int v) {
      return load_ints(sums[0][i] + v * kWidth) + (load_ints(sums[1][i] + v * kWidth) << 8);
    });
  }
}

template <typename Dot>
void amx_word_product(const typename Dot::Block& block) {
  shape_tiles();
  const std::int64_t rest = block.groups % kTileGroups;
  const PanelTail panel_tail(block, rest);
  const PanelTail* tail = rest == 0 ? nullptr : &panel_tail;
  Ahead ahead(block, 1);
  for (std::int64_t row = 0; row < block.rows; row += kTileRows) {
    const std::int64_t from = row + kTileRows <= block.rows ? row : block.rows - kTileRows;
    std::int64_t column = 0;
    for (; column + 32 <= block.panel_width; column += 32) {
      amx_word_tiles<Dot, 2>(block, {from, column}, row - from, tail, ahead);
    }
    if (column < block.panel_width) amx_word_tiles<Dot, 1>(block, {from, column}, row - from, tail, ahead);
  }
}

}  // namespace
}  // namespace i2i::cpu::I2I_ISA

#endif
