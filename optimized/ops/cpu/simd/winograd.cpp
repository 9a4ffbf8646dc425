// The three transforms of Winograd's F(4x4, 3x3) with the usual points 0, +-1, +-2, infinity, and of F(6x6, 3x3) with
// +-1/2 besides (Lavin & Gray 2016, arXiv:1509.09308, section 4.3; the matrices follow from the points by Toom and
// Cook's interpolation). One vector holds one pixel's neighbouring channels, so the transforms are plain vector sums.
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// B^T d, A^T m and G g of one dimension. Vectors come one after the other; results are written `stride` apart.
template <int outputs>
struct Transform;

template <>
struct Transform<4> {
  static void input(const Vector* d, Vector* out, int stride) {
    const Vector even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
    const Vector near_even = d[4] - d[2], near_odd = 2.0f * (d[3] - d[1]);
    out[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    out[stride] = even + odd;
    out[2 * stride] = even - odd;
    out[3 * stride] = near_even + near_odd;
    out[4 * stride] = near_even - near_odd;
    out[5 * stride] = 4.0f * d[1] - 5.0f * d[3] + d[5];
  }
  static void output(const Vector* m, Vector* out, int stride) {
    const Vector sum = m[1] + m[2], difference = m[1] - m[2];
    const Vector far_sum = m[3] + m[4], far_difference = m[3] - m[4];
    out[0] = m[0] + sum + far_sum;
    out[stride] = difference + 2.0f * far_difference;
    out[2 * stride] = sum + 4.0f * far_sum;
    out[3 * stride] = difference + 8.0f * far_difference + m[5];
  }
  static constexpr float kWeights[6][3] = {{1.0f / 4, 0, 0},
                                           {-1.0f / 6, -1.0f / 6, -1.0f / 6},
                                           {-1.0f / 6, 1.0f / 6, -1.0f / 6},
                                           {1.0f / 24, 1.0f / 12, 1.0f / 6},
                                           {1.0f / 24, -1.0f / 12, 1.0f / 6},
                                           {0, 0, 1}};
};

template <>
struct Transform<6> {
  static void input(const Vector* d, Vector* out, int stride) {
    const Vector even1 = d[2] - 4.25f * d[4] + d[6], odd1 = d[1] - 4.25f * d[3] + d[5];
    const Vector even2 = 0.25f * d[2] - 1.25f * d[4] + d[6], odd2 = 0.5f * d[1] - 2.5f * d[3] + 2.0f * d[5];
    const Vector even3 = 4.0f * d[2] - 5.0f * d[4] + d[6], odd3 = 2.0f * d[1] - 2.5f * d[3] + 0.5f * d[5];
    out[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
    out[stride] = even1 + odd1;
    out[2 * stride] = even1 - odd1;
    out[3 * stride] = even2 + odd2;
    out[4 * stride] = even2 - odd2;
    out[5 * stride] = even3 + odd3;
    out[6 * stride] = even3 - odd3;
    out[7 * stride] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
  }
  static void output(const Vector* m, Vector* out, int stride) {
    const Vector sum1 = m[1] + m[2], difference1 = m[1] - m[2];
    const Vector sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    const Vector sum3 = m[5] + m[6], difference3 = m[5] - m[6];
    out[0] = m[0] + sum1 + sum2 + sum3;
    out[stride] = difference1 + 2.0f * difference2 + 0.5f * difference3;
    out[2 * stride] = sum1 + 4.0f * sum2 + 0.25f * sum3;
    out[3 * stride] = difference1 + 8.0f * difference2 + 0.125f * difference3;
    out[4 * stride] = sum1 + 16.0f * sum2 + 0.0625f * sum3;
    out[5 * stride] = difference1 + 32.0f * difference2 + 0.03125f * difference3 + m[7];
  }
  static constexpr float kWeights[8][3] = {{1, 0, 0},
                                           {-2.0f / 9, -2.0f / 9, -2.0f / 9},
                                           {-2.0f / 9, 2.0f / 9, -2.0f / 9},
                                           {1.0f / 90, 1.0f / 45, 2.0f / 45},
                                           {1.0f / 90, -1.0f / 45, 2.0f / 45},
                                           {32.0f / 45, 16.0f / 45, 8.0f / 45},
                                           {32.0f / 45, -16.0f / 45, 8.0f / 45},
                                           {0, 0, 1}};
};

struct TilePlace {
  std::int64_t image, y, x;  // of the tile's first output pixel
};
template <int outputs>
TilePlace place(const WinogradTiles& tiles, std::int64_t tile) {
  const std::int64_t across = (tiles.width + outputs - 1) / outputs, down = (tiles.height + outputs - 1) / outputs;
  return {tile / (across * down), tile / across % down * outputs, tile % across * outputs};
}

/// A tile's pixels to its planes. `pixels` are by column, null outside of the picture, which no pixel of an `inside`
/// tile is; `next_tile` floats further lie those of the tile to the right, whose new lines are asked for meanwhile: too
/// many places at once for the processor to foresee.
template <int outputs, bool inside>
void input_tile(const WinogradTiles& tiles, const float* const (*pixels)[outputs + 2], std::int64_t next_tile,
                float* planes) {
  constexpr int side = outputs + 2;
  for (std::int64_t c = 0; c < tiles.channels; c += kWidth) {
    Vector column[side], columns[side * side], row[side];
    for (int j = 0; j < side; ++j) {
      for (int i = 0; i < side; ++i) {
        column[i] = inside || pixels[j][i] != nullptr ? load(pixels[j][i] + c) : Vector{};
      }
      Transform<outputs>::input(column, columns + j, side);
    }
    if (inside) {
      for (int j = 2; j < side; ++j) {
        for (int i = 0; i < side; ++i) __builtin_prefetch(pixels[j][i] + next_tile + c, 0, 2);
      }
    }
    for (int i = 0; i < side; ++i) {
      if (tiles.upsample && i == kWinogradVanishing) continue;
      Transform<outputs>::input(columns + i * side, row, 1);
      for (int j = 0; j < side; ++j) store(planes + c + (i * side + j) * tiles.plane_stride, row[j]);
    }
  }
}

template <int outputs>
void input_tiles(const WinogradTiles& tiles) {
  constexpr int side = outputs + 2;
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place<outputs>(tiles, tiles.first_tile + t);
    const int shrink = tiles.upsample ? 1 : 0;  // pixel y of the enlarged picture is pixel y / 2
    const std::int64_t in_width = tiles.width >> shrink;
    const float* image = tiles.in + at.image * (tiles.height >> shrink) * in_width * tiles.channels;
    const float* pixels[side][side];
    bool inside = true;
    for (std::int64_t j = 0; j < side; ++j) {
      const std::int64_t x = at.x + j - 1;
      for (std::int64_t i = 0; i < side; ++i) {
        const std::int64_t y = at.y + i - 1;
        const bool here = y >= 0 && y < tiles.height && x >= 0 && x < tiles.width;
        pixels[j][i] = here ? image + ((y >> shrink) * in_width + (x >> shrink)) * tiles.channels : nullptr;
        inside = inside && here;
      }
    }
    const std::int64_t next_tile = (outputs >> shrink) * tiles.channels;
    float* planes = tiles.planes + t * tiles.tile_stride;
    inside ? input_tile<outputs, true>(tiles, pixels, next_tile, planes)
           : input_tile<outputs, false>(tiles, pixels, next_tile, planes);
  }
}

/// Asks for the lines of a tile's outputs that a vector of channels lies in; `first` is the first pixel's.
template <int outputs>
inline void bring_outputs(const WinogradTiles& tiles, const float* first) {
  for (int i = 0; i < outputs; ++i) {
    for (int j = 0; j < outputs; ++j) __builtin_prefetch(first + (i * tiles.width + j) * tiles.channels, 1, 2);
  }
}

template <int outputs>
void output_tiles(const WinogradTiles& tiles) {
  constexpr int side = outputs + 2;
  for (std::int64_t t = 0; t < tiles.tiles; ++t) {
    const TilePlace at = place<outputs>(tiles, tiles.first_tile + t);
    const std::int64_t image = at.image * tiles.height * tiles.width * tiles.channels;
    const std::int64_t next_tile = image + (at.y * tiles.width + at.x + outputs) * tiles.channels;
    const bool inner = at.y + outputs <= tiles.height && at.x + 2 * outputs <= tiles.width;
    const float* bias = tiles.bias;
    if (bias != nullptr && tiles.images_per_bias > 0) bias += at.image / tiles.images_per_bias * tiles.bias_stride;
    for (std::int64_t c = 0; c < tiles.channels; c += kWidth) {
      Vector column[side], columns[outputs * side], row[outputs];
      const float* plane = tiles.planes + t * tiles.tile_stride + c;
      for (int j = 0; j < side; ++j) {
        for (int i = 0; i < side; ++i) {
          const bool vanishes = tiles.upsample && (i == kWinogradVanishing || j == kWinogradVanishing);
          column[i] = vanishes ? Vector{} : load(plane + (i * side + j) * tiles.plane_stride);
        }
        Transform<outputs>::output(column, columns + j, side);
      }
      if (inner) {
        bring_outputs<outputs>(tiles, tiles.out + next_tile + c);
        if (tiles.residual != nullptr) bring_outputs<outputs>(tiles, tiles.residual + next_tile + c);
      }
      const Vector shift = bias == nullptr ? Vector{} : load(bias + c);
      for (std::int64_t i = 0; i < outputs && at.y + i < tiles.height; ++i) {
        Transform<outputs>::output(columns + i * side, row, 1);
        for (std::int64_t j = 0; j < outputs && at.x + j < tiles.width; ++j) {
          const std::int64_t pixel = image + ((at.y + i) * tiles.width + at.x + j) * tiles.channels + c;
          Vector value = row[j] + shift;
          if (tiles.residual != nullptr) value += load(tiles.residual + pixel);
          store(tiles.out + pixel, value);
        }
      }
    }
  }
}

/// One row of planes from the three columns of a transformed row: points come in pairs of opposite sign.
template <int outputs>
void transform_row(const Vector* r, float* out, std::int64_t plane) {
  constexpr int side = outputs + 2;
  const auto& all = Transform<outputs>::kWeights;
  store(out, r[0] * all[0][0]);
#pragma GCC unroll 3
  for (int k = 1; k < side - 1; k += 2) {
    const Vector outer = r[0] * all[k][0] + r[2] * all[k][2], middle = r[1] * all[k][1];
    store(out + k * plane, outer + middle);
    store(out + (k + 1) * plane, outer - middle);
  }
  store(out + (side - 1) * plane, r[2]);
}

/// G g along both axes.
template <int outputs>
void transform_weights(const WinogradWeights& weights) {
  constexpr int side = outputs + 2;
  const float* g = Transform<outputs>::kWeights[winograd_row(outputs, weights.pair, 0)];
  const std::int64_t width = weights.panel_width, tap = weights.depth * width, plane = weights.plane_stride;
  for (std::int64_t i = 0; i < weights.count; ++i) {
    const float* source = weights.panel + (weights.first + i) * width;
    float* out = weights.planes + i * width;
    for (std::int64_t j = 0; j < width; j += kWidth) {
      Vector first[3], second[3];
      for (int x = 0; x < 3; ++x) {
        const float* column = source + x * tap + j;
        if (weights.pair == 0) {
          first[x] = load(column) * g[0];
          second[x] = load(column + 6 * tap);
        } else {
          const Vector outer = g[0] * load(column) + g[2] * load(column + 6 * tap);
          const Vector middle = g[1] * load(column + 3 * tap);
          first[x] = outer + middle;
          second[x] = outer - middle;
        }
      }
      transform_row<outputs>(first, out + j, plane);
      transform_row<outputs>(second, out + side * plane + j, plane);
    }
  }
}

}  // namespace

void winograd_input(const WinogradTiles& tiles) {
  return tiles.outputs == 6 ? input_tiles<6>(tiles) : input_tiles<4>(tiles);
}

void winograd_output(const WinogradTiles& tiles) {
  return tiles.outputs == 6 ? output_tiles<6>(tiles) : output_tiles<4>(tiles);
}

void winograd_weights(const WinogradWeights& weights) {
  return weights.outputs == 6 ? transform_weights<6>(weights) : transform_weights<4>(weights);
}

}  // namespace i2i::cpu::I2I_ISA
