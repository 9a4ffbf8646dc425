// Matrix products and convolutions as one loop: register tiles over row pointers and packed panels, then one finishing
// pass that adds bias and residual and applies the activation while the tile is still in the first-level cache.
#include <cstddef>
#include <utility>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

#if defined(__AVX512F__)
typedef float LastVector __attribute__((vector_size(I2I_VECTOR_BYTES / 2)));
typedef float UnalignedLastVector __attribute__((vector_size(I2I_VECTOR_BYTES / 2), aligned(4), may_alias));
inline LastVector load_last(const float* p) { return *reinterpret_cast<const UnalignedLastVector*>(p); }
inline LastVector lower_half(Vector v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
inline Vector widened(LastVector v) {
  return __builtin_shufflevector(v, LastVector{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
#endif

/// Floats of a cache line: a row comes into the cache in pieces of so many.
constexpr std::int64_t kLine = 16;
constexpr bool kNarrow = kWidth < kLine;

/// Where a tile finds its operands: rows a[0..Height) of `row_count` a segment, from element `offset` on, `depth` of
/// them; and what the cache should hold by the time this tile is done.
struct Operands {
  const float* const* a = nullptr;
  std::int64_t row_count = 0, segments = 1, offset = 0, depth = 0;
  const float* panel = nullptr;
  std::int64_t panel_width = 0;
  const float* next_panel = nullptr;  ///< a line for each of a row's: this tile's share of the weights after these
  std::int64_t next_tile = 0;         ///< rows down to the next tile, 0 where `next` is its first
  const float* next = nullptr;
  const float* out = nullptr;  ///< as in ProductBlock, at this tile
  const float* residual = nullptr;
  std::int64_t out_stride = 0;
};

template <int Height, int for_writing>
inline void bring_lines(const float* first, std::int64_t stride) {
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) __builtin_prefetch(first + i * stride, for_writing, 3);
}

/// One register tile: Height rows by Vectors vectors, and one of half their width where `half` says so: a processor
/// that takes wide vectors in two goes needs one for it. Accumulators fill the register file, so every panel vector
/// loaded is used Height times and every element of `a` Vectors times. They start at zero also where c is added to:
/// sums of sums round less than one long chain.
/// Rows are too short for the processor to foresee the next: where `ahead` says so, a line of each row of the next tile
/// is asked for with every line of this one's, and a line of every row of the output with each of the first. So is, on
/// narrow vectors, whose panels are read in strips, a line of the weights that come next.
template <bool ahead, int Height, int Vectors, bool half>
void tile(const Operands& of, float* c, std::int64_t c_stride, bool accumulate) {
  Vector sum[Height][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
  }
#if defined(__AVX512F__)
  LastVector last[Height] = {};
#endif
  const float *panel = of.panel, *next_panel = of.next_panel;
  const float* const* a = of.a;
  for (std::int64_t s = 0; s < of.segments; ++s, a += of.row_count) {
    const float* row[Height];
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) row[i] = a[i] + of.offset;
    // In bytes: rows need not lie in one array.
    const char* below = reinterpret_cast<const char*>(of.next_tile > 0 ? a[of.next_tile] : of.next);
    const std::ptrdiff_t next_tile = below - reinterpret_cast<const char*>(a[0]);
    const std::int64_t piece = ahead ? kLine : of.depth;
    for (std::int64_t line = 0; line < of.depth; line += piece) {
      if constexpr (ahead) {
#pragma GCC unroll 16
        for (int i = 0; i < Height; ++i) {
          __builtin_prefetch(reinterpret_cast<const char*>(row[i] + line) + next_tile, 0, 2);
        }
        if constexpr (kNarrow) {
          __builtin_prefetch(next_panel, 0, 2);
          next_panel += kLine;
        }
        if (s == 0 && line < Vectors * kWidth) {
          if (of.out != nullptr) bring_lines<Height, 1>(of.out + line, of.out_stride);
          if (of.residual != nullptr) bring_lines<Height, 0>(of.residual + line, of.out_stride);
        }
      }
      const std::int64_t end = line + piece < of.depth ? line + piece : of.depth;
      for (std::int64_t k = line; k < end; ++k, panel += of.panel_width) {
        Vector b[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) b[v] = load(panel + v * kWidth);
#pragma GCC unroll 16
        for (int i = 0; i < Height; ++i) {
          const Vector x = splat(row[i][k]);
#pragma GCC unroll 4
          for (int v = 0; v < Vectors; ++v) sum[i][v] += x * b[v];
#if defined(__AVX512F__)
          if constexpr (half) last[i] += lower_half(x) * load_last(panel + Vectors * kWidth);
#endif
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      float* to = c + i * c_stride + v * kWidth;
      store(to, accumulate ? load(to) + sum[i][v] : sum[i][v]);
    }
#if defined(__AVX512F__)
    if constexpr (half) {
      float* to = c + i * c_stride + Vectors * kWidth;
      store(to, accumulate ? load(to) + widened(last[i]) : widened(last[i]));
    }
#endif
  }
}

using Tile = void (*)(const Operands&, float*, std::int64_t, bool);

template <bool ahead, int Vectors, bool half, typename Heights>
struct Tiles;
template <bool ahead, int Vectors, bool half, int... below>
struct Tiles<ahead, Vectors, half, std::integer_sequence<int, below...>> {
  static constexpr Tile kByHeight[] = {nullptr, tile<ahead, below + 1, Vectors, half>...};
};

/// Part of a block's segments and depth.
struct Slice {
  const float* const* a;
  std::int64_t segments, offset, depth;
  const float* panel;
  bool accumulate;
};

/// All rows of a block against `Vectors` vectors of columns, for one slice of the depth.
template <int Vectors, int Height, bool half = false>
void tiles_of_slice(const ProductBlock& block, std::int64_t column, const Slice& slice) {
  using Heights = std::make_integer_sequence<int, Height>;
  const auto& by_height =
      block.near ? Tiles<false, Vectors, half, Heights>::kByHeight : Tiles<true, Vectors, half, Heights>::kByHeight;
  // Rows are shared out evenly (11 as 6 + 5, never 8 + 3): short tiles leave registers idle.
  const std::int64_t count = (block.rows + Height - 1) / Height;
  Operands of;
  of.row_count = block.rows;
  of.segments = slice.segments;
  of.offset = slice.offset;
  of.depth = slice.depth;
  of.panel = slice.panel + column;
  of.panel_width = block.panel_width;
  of.out_stride = block.out_stride;
  std::int64_t row = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t end = block.rows * (t + 1) / count;
    of.a = slice.a + row;
    const std::int64_t share = slice.segments * slice.depth;
    of.next_panel = slice.panel + share * block.panel_width + (column / (Vectors * kWidth) * count + t) * share;
    of.next_tile = end < block.rows ? end - row : 0;
    of.next = block.next != nullptr ? block.next : slice.a[row];
    if (block.out != nullptr) of.out = block.out + row * block.out_stride + column;
    if (block.residual != nullptr) of.residual = block.residual + row * block.out_stride + column;
    by_height[end - row](of, block.c + row * block.c_stride + column, block.c_stride, slice.accumulate);
    row = end;
  }
}

void multiply(const ProductBlock& block, const Slice& slice) {
#if defined(__AVX512F__)
  switch (block.panel_width / kWidth) {
    case 1:
      return tiles_of_slice<1, 12>(block, 0, slice);
    case 2:
      return tiles_of_slice<2, 12>(block, 0, slice);
    case 3:
      if (block.columns <= 2 * kWidth + kWidth / 2) return tiles_of_slice<2, 8, true>(block, 0, slice);
      return tiles_of_slice<3, 8>(block, 0, slice);
    default:
      return tiles_of_slice<4, 6>(block, 0, slice);
  }
#else
  // Sixteen registers: 6 x 2 accumulators, two panel vectors, one element.
  for (std::int64_t column = 0; column < block.panel_width; column += 2 * kWidth) {
    tiles_of_slice<2, 6>(block, column, slice);
  }
#endif
}

/// Depth is cut so that a slice of the panel stays in the second-level cache while all rows of the block pass over it:
/// processors with narrow vectors have half a megabyte of it, if as much.
constexpr std::int64_t kSliceFloats = (kNarrow ? 24 : 48) << 10;

}  // namespace

void product(const ProductBlock& block) {
  const std::int64_t slice_depth = kSliceFloats / block.panel_width;
  if (block.depth > slice_depth) {
    const std::int64_t cuts = (block.depth + slice_depth - 1) / slice_depth;
    for (std::int64_t s = 0; s < block.segments; ++s) {
      for (std::int64_t cut = 0; cut < cuts; ++cut) {
        const std::int64_t begin = block.depth * cut / cuts, end = block.depth * (cut + 1) / cuts;
        multiply(block,
                 {block.a + s * block.rows, 1, begin, end - begin,
                  block.panel + (s * block.depth + begin) * block.panel_width, block.accumulate || s > 0 || cut > 0});
      }
    }
    return;
  }
  const std::int64_t at_once = slice_depth / block.depth;
  for (std::int64_t s = 0; s < block.segments; s += at_once) {
    const std::int64_t count = block.segments - s < at_once ? block.segments - s : at_once;
    multiply(block, {block.a + s * block.rows, count, 0, block.depth, block.panel + s * block.depth * block.panel_width,
                     block.accumulate || s > 0});
  }
}

namespace {

template <Activation activation>
inline Vector activate(Vector x) {
  if constexpr (activation == Activation::kSilu) return silu(x);
  if constexpr (activation == Activation::kQuickGelu) return quick_gelu(x);
  if constexpr (activation == Activation::kGelu) return gelu(x);
  return x;
}

template <Activation activation>
void finish_rows(const FinishBlock& block) {
  for (std::int64_t row = 0; row < block.rows; ++row) {
    const float* c = block.c + row * block.c_stride;
    const float* bias = block.bias;
    if (bias != nullptr && block.rows_per_bias > 0) {
      bias += (block.first_row + row) / block.rows_per_bias * block.bias_stride;
    }
    const float* residual = block.residual == nullptr ? nullptr : block.residual + row * block.out_stride;
    float* out = block.out + row * block.out_stride;
    for (std::int64_t j = 0; j < block.columns; j += kWidth) {
      const std::int64_t left = block.columns - j;
      const bool whole = left >= kWidth;
      Vector x = load(c + j);  // panels are padded: reading beyond the last column stays inside
      if (bias != nullptr) x += whole ? load(bias + j) : load_some(bias + j, left);
      if constexpr (activation == Activation::kGeglu) {
        Vector gate = load(c + block.gate_offset + j);
        if (bias != nullptr) {
          const float* gate_bias = bias + block.gate_bias_offset + j;
          gate += whole ? load(gate_bias) : load_some(gate_bias, left);
        }
        x = x * gelu(gate);
      } else {
        x = activate<activation>(x);
      }
      if (residual != nullptr) x += whole ? load(residual + j) : load_some(residual + j, left);
      if (whole) {
        store(out + j, x);
      } else {
        store_some(out + j, x, left);
      }
    }
  }
}

}  // namespace

void finish(const FinishBlock& block) {
  switch (block.activation) {
    case Activation::kNone:
      return finish_rows<Activation::kNone>(block);
    case Activation::kSilu:
      return finish_rows<Activation::kSilu>(block);
    case Activation::kQuickGelu:
      return finish_rows<Activation::kQuickGelu>(block);
    case Activation::kGelu:
      return finish_rows<Activation::kGelu>(block);
    case Activation::kGeglu:
      return finish_rows<Activation::kGeglu>(block);
  }
}

}  // namespace i2i::cpu::I2I_ISA
