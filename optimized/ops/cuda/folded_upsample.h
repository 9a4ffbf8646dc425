// Nearest-neighbour doubling and a 3 x 3 convolution as four 2 x 2 convolutions of the small picture: 4/9 of the
// products, and no enlarged picture. Exact in real numbers: where two taps read the same small pixel, they are one tap
// with their sum. Host code, run once when weights are loaded; for outputs of exactly twice the size.
#pragma once

#include <cstdint>

namespace i2i::cuda {

/// Output pixel (2 i + dy, 2 j + dx) = sum over u, v of folded[dy][dx][o][u][v] * input pixel (i + dy - 1 + u,
/// j + dx - 1 + v), zeros outside: the 3 x 3 convolution with one pixel of zeros around it.
/// @param weight  [out_channels, 3, 3, in_channels] (channels-last memory)
/// @param folded  [2, 2, out_channels, 2, 2, in_channels]; sums are rounded once, to fp32
inline void fold_upsampled_weight(const float* weight, std::int64_t out_channels, std::int64_t in_channels,
                                  float* folded) {
  // Row 2 i + dy of the large picture is row i of the small one, so tap k of 3 reads small row i + floor((dy + k - 1) /
  // 2), which is tap (dy + k + 1) / 2 - dy of the 2 that begin at i + dy - 1.
  const auto tap = [](int d, int k) { return (d + k + 1) / 2 - d; };
  for (int dy = 0; dy < 2; ++dy) {
    for (int dx = 0; dx < 2; ++dx) {
      for (std::int64_t o = 0; o < out_channels; ++o, folded += 4 * in_channels) {
        for (std::int64_t c = 0; c < in_channels; ++c) {
          double sums[2][2] = {};
          for (int ky = 0; ky < 3; ++ky) {
            for (int kx = 0; kx < 3; ++kx)
              sums[tap(dy, ky)][tap(dx, kx)] += static_cast<double>(weight[((o * 3 + ky) * 3 + kx) * in_channels + c]);
          }
          for (int u = 0; u < 2; ++u) {
            for (int v = 0; v < 2; ++v) folded[(u * 2 + v) * in_channels + c] = static_cast<float>(sums[u][v]);
          }
        }
      }
    }
  }
}

}  // namespace i2i::cuda
