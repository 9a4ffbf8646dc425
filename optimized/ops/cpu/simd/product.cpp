// Matrix products and convolutions as one loop: register tiles over row pointers and packed panels, then one finishing
// pass that adds bias and residual and applies the activation while the tile is still in the first-level cache.
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

/// One register tile: Height rows by Vectors vectors, and one of half their width where `half` says so: a processor
/// that takes wide vectors in two goes needs one for it. Accumulators fill the register file, so every panel vector
/// loaded is used Height times and every element of `a` Vectors times. They start at zero also where c is added to:
/// sums of sums round less than one long chain.
template <int Height, int Vectors, bool half = false>
void tile(const float* const* a, std::int64_t row_count, std::int64_t segments, std::int64_t offset, std::int64_t depth,
          const float* panel, std::int64_t panel_width, float* c, std::int64_t c_stride, bool accumulate) {
  Vector sum[Height][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Height; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
  }
#if defined(__AVX512F__)
  LastVector last[Height] = {};
#endif
  for (std::int64_t s = 0; s < segments; ++s, a += row_count) {
    const float* row[Height];
#pragma GCC unroll 16
    for (int i = 0; i < Height; ++i) row[i] = a[i] + offset;
    for (std::int64_t k = 0; k < depth; ++k, panel += panel_width) {
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

using Tile = void (*)(const float* const*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, const float*,
                      std::int64_t, float*, std::int64_t, bool);

template <int Vectors, bool half, typename Heights>
struct Tiles;
template <int Vectors, bool half, int... below>
struct Tiles<Vectors, half, std::integer_sequence<int, below...>> {
  static constexpr Tile kByHeight[] = {nullptr, tile<below + 1, Vectors, half>...};
};

/// All rows of a block against `Vectors` vectors of columns, for one slice of the depth.
template <int Vectors, int Height, bool half = false>
void tiles_of_slice(const ProductBlock& block, std::int64_t column, const float* const* a, std::int64_t segments,
                    std::int64_t offset, std::int64_t depth, const float* panel, bool accumulate) {
  using Table = Tiles<Vectors, half, std::make_integer_sequence<int, Height>>;
  // Rows are shared out evenly (11 as 6 + 5, never 8 + 3): short tiles leave registers idle.
  const std::int64_t count = (block.rows + Height - 1) / Height;
  std::int64_t row = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t end = block.rows * (t + 1) / count;
    Table::kByHeight[end - row](a + row, block.rows, segments, offset, depth, panel + column, block.panel_width,
                                block.c + row * block.c_stride + column, block.c_stride, accumulate);
    row = end;
  }
}

void slice(const ProductBlock& block, const float* const* a, std::int64_t segments, std::int64_t offset,
           std::int64_t depth, const float* panel, bool accumulate) {
#if defined(__AVX512F__)
  switch (block.panel_width / kWidth) {
    case 1:
      return tiles_of_slice<1, 12>(block, 0, a, segments, offset, depth, panel, accumulate);
    case 2:
      return tiles_of_slice<2, 12>(block, 0, a, segments, offset, depth, panel, accumulate);
    case 3:
      if (block.columns <= 2 * kWidth + kWidth / 2) {
        return tiles_of_slice<2, 8, true>(block, 0, a, segments, offset, depth, panel, accumulate);
      }
      return tiles_of_slice<3, 8>(block, 0, a, segments, offset, depth, panel, accumulate);
    default:
      return tiles_of_slice<4, 6>(block, 0, a, segments, offset, depth, panel, accumulate);
  }
#else
  // Sixteen registers: 6 x 2 accumulators, two panel vectors, one element.
  for (std::int64_t column = 0; column < block.panel_width; column += 2 * kWidth) {
    tiles_of_slice<2, 6>(block, column, a, segments, offset, depth, panel, accumulate);
  }
#endif
}

/// Depth is cut so that a slice of the panel stays in the second-level cache while all rows of the block pass over it.
constexpr std::int64_t kSliceFloats = 48 << 10;

}  // namespace

void product(const ProductBlock& block) {
  const std::int64_t slice_depth = kSliceFloats / block.panel_width;
  if (block.depth > slice_depth) {
    const std::int64_t cuts = (block.depth + slice_depth - 1) / slice_depth;
    for (std::int64_t s = 0; s < block.segments; ++s) {
      for (std::int64_t cut = 0; cut < cuts; ++cut) {
        const std::int64_t begin = block.depth * cut / cuts, end = block.depth * (cut + 1) / cuts;
        slice(block, block.a + s * block.rows, 1, begin, end - begin,
              block.panel + (s * block.depth + begin) * block.panel_width, block.accumulate || s > 0 || cut > 0);
      }
    }
    return;
  }
  const std::int64_t at_once = slice_depth / block.depth;
  for (std::int64_t s = 0; s < block.segments; s += at_once) {
    const std::int64_t count = block.segments - s < at_once ? block.segments - s : at_once;
    slice(block, block.a + s * block.rows, count, 0, block.depth, block.panel + s * block.depth * block.panel_width,
          block.accumulate || s > 0);
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
