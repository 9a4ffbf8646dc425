// The transforms of Winograd's F(2x2, 3x3) (Lavin & Gray 2016, arXiv:1509.09308, section 4.1) around a product of
// bytes. Each tile's planes are quantized after the transform, one step per tile and plane: a plane of differences of
// smooth pixels gets a finer one than the plane of their sums. F(4x4, 3x3) would need fewer products, but its factors
// enlarge the steps' noise threefold over this one's.
#include "optimized/ops/cpu/simd/vector.h"

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
inline void output_transform(Vector* m, int stride) {
  const Vector middle = m[stride], difference = m[2 * stride];
  m[0] = m[0] + middle + difference;
  m[stride] = middle - difference - m[3 * stride];
}

struct TilePlace {
  std::int64_t image, y, x;  // of the tile's first output pixel
};
TilePlace place(const Int8WinogradTiles& tiles, std::int64_t tile) {
  const std::int64_t across = (tiles.width + 1) / 2, down = (tiles.height + 1) / 2;
  return {tile / (across * down), tile / across % down * 2, tile % across * 2};
}

}  // namespace

void int8_winograd_input(const Int8WinogradTiles& tiles) {
  const std::int64_t channels = tiles.channels;
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const int shrink = tiles.upsample ? 1 : 0;  // pixel y of the enlarged picture is pixel y / 2
    const std::int64_t in_width = tiles.width >> shrink;
    const float* image = tiles.in + at.image * (tiles.height >> shrink) * in_width * channels;
    const float* pixels[16];
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t y = at.y + i - 1;
      for (std::int64_t j = 0; j < 4; ++j) {
        const std::int64_t x = at.x + j - 1;
        const bool inside = y >= 0 && y < tiles.height && x >= 0 && x < tiles.width;
        pixels[i * 4 + j] = inside ? image + ((y >> shrink) * in_width + (x >> shrink)) * channels : nullptr;
      }
    }
    for (std::int64_t c = 0; c < channels; c += kWidth) {
      Vector d[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) d[k] = pixels[k] != nullptr ? load(pixels[k] + c) : Vector{};
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) input_transform(d + j, 4);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) input_transform(d + i * 4, 1);
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) store(tiles.scratch + k * channels + c, d[k]);
    }
    for (int k = 0; k < 16; ++k) {
      if (tiles.upsample && int8_winograd_plane_vanishes(k)) continue;
      quantize_rows({tiles.scratch + k * channels, channels, 1, channels,
                     tiles.planes + k * tiles.plane_stride + t * channels, channels,
                     tiles.scales + k * tiles.scale_stride + t});
    }
  }
}

void int8_winograd_output(const Int8WinogradTiles& tiles) {
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const std::int64_t image = at.image * tiles.height * tiles.width * tiles.channels;
    const float* bias = tiles.bias;
    if (bias != nullptr && tiles.images_per_bias > 0) bias += at.image / tiles.images_per_bias * tiles.bias_stride;
    for (std::int64_t c = 0; c < tiles.columns; c += kWidth) {
      Vector m[16];
      const float* sums = tiles.sums + t * tiles.panel_width + c;
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) {
        m[k] = tiles.upsample && int8_winograd_plane_vanishes(k) ? Vector{} : load(sums + k * tiles.sum_stride);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) output_transform(m + j, 4);
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) output_transform(m + i * 4, 1);
      const std::int64_t column = tiles.first_column + c;
      const Vector shift = bias == nullptr ? Vector{} : load(bias + column);
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j) {
          if (at.y + i >= tiles.height || at.x + j >= tiles.width) continue;
          const std::int64_t pixel = image + ((at.y + i) * tiles.width + at.x + j) * tiles.channels + column;
          Vector value = m[i * 4 + j] + shift;
          if (tiles.residual != nullptr) value += load(tiles.residual + pixel);
          store(tiles.out + pixel, value);
        }
      }
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
