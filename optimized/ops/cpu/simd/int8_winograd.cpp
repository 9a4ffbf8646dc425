// The transforms of Winograd's F(2x2, 3x3) (Lavin & Gray 2016, arXiv:1509.09308, section 4.1) around a product of
// bytes. Each tile's planes are quantized after the transform, one step per tile and plane: a plane of differences of
// smooth pixels gets a finer one than the plane of their sums. F(4x4, 3x3) would need fewer products, but its factors
// enlarge the steps' noise threefold over this one's.
#include "optimized/ops/cpu/simd/bytes.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// B^T d for four vectors `stride` apart, in place.
inline void input_transform(Vector* d, int stride) {
  const Vector d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride];
  d[0] = d0 - d2;
  d[stride] = d1 + d2;
  d[2 * stride] = d2 - d1;
  d[3 * stride] = d1 - d3;
}

/// A^T m for four vectors `stride` apart: two results, over the first two.
template <bool enlarged>
inline void output_transform(Vector* m, int stride) {
  const Vector first = m[0], middle = m[stride], last = m[3 * stride];
  if constexpr (enlarged) {  // m[2 * stride] vanishes
    m[0] = first + middle;
    m[stride] = middle - last;
  } else {
    const Vector difference = m[2 * stride];
    m[0] = first + middle + difference;
    m[stride] = middle - difference - last;
  }
}

struct TilePlace {
  std::int64_t image, y, x;  // of the tile's first output pixel
};
TilePlace place(const Int8WinogradTiles& tiles, std::int64_t tile) {
  const std::int64_t across = (tiles.width + 1) / 2, down = (tiles.height + 1) / 2;
  return {tile / (across * down), tile / across % down * 2, tile % across * 2};
}

constexpr bool left_out(bool enlarged, int plane) { return enlarged && int8_winograd_plane_vanishes(plane); }

/// B^T d B of a tile, plane after plane to `planes` [16, channels], and the bits of each plane's largest magnitude.
/// @param pixels  [16], row by row
template <bool enlarged>
void transform_tile(const float* const* pixels, std::int64_t channels, float* planes, std::int32_t* magnitudes) {
  const float* d[16];
  for (int k = 0; k < 16; ++k) d[k] = pixels[k];
    // Two of the four rows at a time: with as many maxima they stay in registers.
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const int first = half == 0 ? 0 : 1, second = half == 0 ? 3 : 2;
    IntVector highest[8] = {};
    for (std::int64_t c = 0; c < channels; c += kWidth) {
      Vector row[2][4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (enlarged && j == 2) continue;  // the same pixel as before it
        const auto at = [&](int i) { return load(d[i * 4 + j] + c); };
        row[0][j] = half == 0 ? at(0) - at(2) : at(1) + at(2);
        if (half == 0) {
          row[1][j] = at(1) - at(3);
        } else if (!enlarged) {
          row[1][j] = at(2) - at(1);
        }
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        const int plane = (i == 0 ? first : second) * 4;
        if (enlarged && i == 1 && half == 1) continue;
        if (enlarged) row[i][2] = row[i][1];
        input_transform(row[i], 1);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          if (left_out(enlarged, j)) continue;
          store(planes + (plane + j) * channels + c, row[i][j]);
          // Magnitudes compare like their bits, and NaN is above infinity.
          const IntVector bits = reinterpret_cast<IntVector>(row[i][j]) & 0x7fffffff;
          highest[i * 4 + j] = higher(highest[i * 4 + j], bits);
        }
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) magnitudes[(k < 4 ? first : second) * 4 + k % 4] = highest_lane(highest[k]);
  }
}

template <bool enlarged>
void transform_and_quantize(const Int8WinogradTiles& tiles) {
  const std::int64_t channels = tiles.channels;
  const std::int64_t in_height = enlarged ? tiles.height / 2 : tiles.height;
  const std::int64_t in_width = enlarged ? tiles.width / 2 : tiles.width;
  float* outside = tiles.scratch + 16 * channels;
  std::memset(outside, 0, static_cast<std::size_t>(channels) * sizeof(float));
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const float* image = tiles.in + at.image * in_height * in_width * channels;
    const float* pixels[16];
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t y = at.y + i - 1;
      for (std::int64_t j = 0; j < 4; ++j) {
        const std::int64_t x = at.x + j - 1;
        const bool inside = y >= 0 && y < tiles.height && x >= 0 && x < tiles.width;
        // Pixel y of the enlarged picture is pixel y / 2.
        const std::int64_t pixel = enlarged ? y / 2 * in_width + x / 2 : y * in_width + x;
        pixels[i * 4 + j] = inside ? image + pixel * channels : outside;
      }
    }
    std::int32_t magnitudes[16] = {};
    transform_tile<enlarged>(pixels, channels, tiles.scratch, magnitudes);
    for (int k = 0; k < 16; ++k) {
      if (left_out(enlarged, k)) continue;
      const ByteStep step(magnitudes[k]);
      tiles.scales[k * tiles.scale_stride + t] = step.scale;
      const float* plane = tiles.scratch + k * channels;
      std::uint8_t* bytes = tiles.planes + k * tiles.plane_stride + t * channels;
      for (std::int64_t c = 0; c < channels; c += kWidth)
        store_lowest_bytes(bytes + c, step.quantized(load(plane + c)));
    }
  }
}

template <bool enlarged>
void transform_back(const Int8WinogradTiles& given) {
  const Int8WinogradTiles tiles = given;  // a copy, which no store below can have changed
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const std::int64_t first = ((at.image * tiles.height + at.y) * tiles.width + at.x) * tiles.channels;
    const std::int64_t offsets[4] = {0, tiles.channels, tiles.width * tiles.channels,
                                     (tiles.width + 1) * tiles.channels};
    const bool two_rows = at.y + 1 < tiles.height, two_columns = at.x + 1 < tiles.width;
    const bool inside[4] = {true, two_columns, two_rows, two_rows && two_columns};
    const float* bias = tiles.bias;
    if (bias != nullptr && tiles.images_per_bias > 0) bias += at.image / tiles.images_per_bias * tiles.bias_stride;
    for (std::int64_t c = 0; c < tiles.columns; c += kWidth) {
      Vector m[16];
      const float* sums = tiles.sums + t * tiles.panel_width + c;
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) m[k] = left_out(enlarged, k) ? Vector{} : load(sums + k * tiles.sum_stride);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (!left_out(enlarged, j)) output_transform<enlarged>(m + j, 4);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) output_transform<enlarged>(m + i * 4, 1);
      const std::int64_t column = tiles.first_column + c;
      const Vector shift = bias == nullptr ? Vector{} : load(bias + column);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        if (!inside[k]) continue;
        const std::int64_t pixel = first + offsets[k] + column;
        Vector value = m[k / 2 * 4 + k % 2] + shift;
        if (tiles.residual != nullptr) value += load(tiles.residual + pixel);
        store(tiles.out + pixel, value);
      }
    }
  }
}

}  // namespace

void int8_winograd_input(const Int8WinogradTiles& tiles) {
  if (tiles.upsample) return transform_and_quantize<true>(tiles);
  transform_and_quantize<false>(tiles);
}

void int8_winograd_output(const Int8WinogradTiles& tiles) {
  if (tiles.upsample) return transform_back<true>(tiles);
  transform_back<false>(tiles);
}

}  // namespace i2i::cpu::I2I_ISA
