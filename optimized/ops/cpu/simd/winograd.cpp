// The three transforms of Winograd's F(4x4, 3x3) with the usual points 0, +-1, +-2, infinity (Lavin & Gray 2016,
// arXiv:1509.09308, section 4.3). One vector holds one pixel's neighbouring channels, so both transforms are plain
// vector sums.
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// B^T d for six vectors `stride` apart, written `stride` apart.
inline void input_transform(const Vector* d, Vector* out, int stride) {
  const Vector d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride],
               d5 = d[5 * stride];
  const Vector even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1;
  const Vector near_even = d4 - d2, near_odd = 2.0f * (d3 - d1);
  out[0] = 4.0f * d0 - 5.0f * d2 + d4;
  out[stride] = even + odd;
  out[2 * stride] = even - odd;
  out[3 * stride] = near_even + near_odd;
  out[4 * stride] = near_even - near_odd;
  out[5 * stride] = 4.0f * d1 - 5.0f * d3 + d5;
}

/// A^T m for six vectors `stride` apart: four results, written `stride` apart.
inline void output_transform(const Vector* m, Vector* out, int stride) {
  const Vector m0 = m[0], m1 = m[stride], m2 = m[2 * stride], m3 = m[3 * stride], m4 = m[4 * stride],
               m5 = m[5 * stride];
  const Vector sum = m1 + m2, difference = m1 - m2, far_sum = m3 + m4, far_difference = m3 - m4;
  out[0] = m0 + sum + far_sum;
  out[stride] = difference + 2.0f * far_difference;
  out[2 * stride] = sum + 4.0f * far_sum;
  out[3 * stride] = difference + 8.0f * far_difference + m5;
}

struct TilePlace {
  std::int64_t image, y, x;  // of the tile's first output pixel
};
TilePlace place(const WinogradTiles& tiles, std::int64_t tile) {
  const std::int64_t across = (tiles.width + 3) / 4, down = (tiles.height + 3) / 4;
  return {tile / (across * down), tile / across % down * 4, tile % across * 4};
}

}  // namespace

void winograd_input(const WinogradTiles& tiles) {
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const int shrink = tiles.upsample ? 1 : 0;  // pixel y of the enlarged picture is pixel y / 2
    const std::int64_t in_width = tiles.width >> shrink;
    const float* image = tiles.in + at.image * (tiles.height >> shrink) * in_width * tiles.channels;
    const float* pixels[36];
    for (std::int64_t i = 0; i < 6; ++i) {
      const std::int64_t y = at.y + i - 1;
      for (std::int64_t j = 0; j < 6; ++j) {
        const std::int64_t x = at.x + j - 1;
        const bool inside = y >= 0 && y < tiles.height && x >= 0 && x < tiles.width;
        pixels[i * 6 + j] = inside ? image + ((y >> shrink) * in_width + (x >> shrink)) * tiles.channels : nullptr;
      }
    }
    for (std::int64_t c = 0; c < tiles.channels; c += kWidth) {
      Vector d[36], e[36];
      for (int k = 0; k < 36; ++k) d[k] = pixels[k] != nullptr ? load(pixels[k] + c) : Vector{};
      for (int j = 0; j < 6; ++j) input_transform(d + j, e + j, 6);
      for (int i = 0; i < 6; ++i) input_transform(e + i * 6, d + i * 6, 1);
      float* plane = tiles.planes + t * tiles.tile_stride + c;
      for (int k = 0; k < 36; ++k) store(plane + k * tiles.plane_stride, d[k]);
    }
  }
}

void winograd_output(const WinogradTiles& tiles) {
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place(tiles, tiles.first_tile + t);
    const std::int64_t image = at.image * tiles.height * tiles.width * tiles.channels;
    const float* bias = tiles.bias;
    if (bias != nullptr && tiles.images_per_bias > 0) bias += at.image / tiles.images_per_bias * tiles.bias_stride;
    for (std::int64_t c = 0; c < tiles.channels; c += kWidth) {
      Vector m[36], e[24], out[16];
      const float* plane = tiles.planes + t * tiles.tile_stride + c;
      for (int k = 0; k < 36; ++k) {
        m[k] = tiles.upsample && winograd_plane_vanishes(k) ? Vector{} : load(plane + k * tiles.plane_stride);
      }
      for (int j = 0; j < 6; ++j) output_transform(m + j, e + j, 6);
      for (int i = 0; i < 4; ++i) output_transform(e + i * 6, out + i * 4, 1);
      const Vector shift = bias == nullptr ? Vector{} : load(bias + c);
      for (std::int64_t i = 0; i < 4 && at.y + i < tiles.height; ++i) {
        for (std::int64_t j = 0; j < 4 && at.x + j < tiles.width; ++j) {
          const std::int64_t pixel = image + ((at.y + i) * tiles.width + at.x + j) * tiles.channels + c;
          Vector value = out[i * 4 + j] + shift;
          if (tiles.residual != nullptr) value += load(tiles.residual + pixel);
          store(tiles.out + pixel, value);
        }
      }
    }
  }
}

void winograd_weights(const WinogradWeights& weights) {
  constexpr float kG[6][3] = {{1.0f / 4, 0, 0},
                              {-1.0f / 6, -1.0f / 6, -1.0f / 6},
                              {-1.0f / 6, 1.0f / 6, -1.0f / 6},
                              {1.0f / 24, 1.0f / 12, 1.0f / 6},
                              {1.0f / 24, -1.0f / 12, 1.0f / 6},
                              {0, 0, 1}};
  const float* g = kG[weights.row];
  const std::int64_t width = weights.panel_width, tap = weights.depth * width, plane = weights.count * width;
  for (std::int64_t i = 0; i < weights.count; ++i) {
    const float* source = weights.panel + (weights.first + i) * width;
    float* out = weights.planes + i * width;
    for (std::int64_t j = 0; j < width; j += kWidth) {
      Vector r[3];
      for (int x = 0; x < 3; ++x) {
        const float* column = source + x * tap + j;
        r[x] = g[0] * load(column) + g[1] * load(column + 3 * tap) + g[2] * load(column + 6 * tap);
      }
      const Vector outer = (r[0] + r[2]) * (-1.0f / 6), middle = r[1] * (-1.0f / 6);
      const Vector far = r[0] * (1.0f / 24) + r[2] * (1.0f / 6), far_middle = r[1] * (1.0f / 12);
      store(out + j, r[0] * (1.0f / 4));
      store(out + plane + j, outer + middle);
      store(out + 2 * plane + j, outer - middle);
      store(out + 3 * plane + j, far + far_middle);
      store(out + 4 * plane + j, far - far_middle);
      store(out + 5 * plane + j, r[2]);
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
