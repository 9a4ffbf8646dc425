// Promise: a 3 x 3 convolution of a picture enlarged twofold equals four 2 x 2 convolutions of the small one, exactly
// where the sums of weights are exact.
#include "optimized/ops/cuda/folded_upsample.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda {
namespace {

constexpr int kIn = 3, kOut = 2;

struct Picture {
  int height, width, channels;
  std::vector<double> values;  // [height, width, channels]
  double at(int y, int x, int c) const {
    if (y < 0 || x < 0 || y >= height || x >= width) return 0;
    return values[as_size((y * width + x) * channels + c)];
  }
};

void check(int height, int width, unsigned seed) {
  SCOPED_TRACE(testing::Message() << height << " x " << width);
  std::mt19937 random(seed);
  const auto small_integers = [&](std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 201) - 100);
    return values;
  };
  const auto weight = small_integers(kOut * 9 * kIn), pixels = small_integers(as_size(height * width * kIn));
  const Picture small{height, width, kIn, {pixels.begin(), pixels.end()}};
  std::vector<float> folded(4 * kOut * 4 * kIn);
  fold_upsampled_weight(weight.data(), kOut, kIn, folded.data());

  for (int y = 0; y < 2 * height; ++y) {
    for (int x = 0; x < 2 * width; ++x) {
      for (int o = 0; o < kOut; ++o) {
        double by_nine = 0, by_four = 0;
        for (int c = 0; c < kIn; ++c) {
          for (int ky = 0; ky < 3; ++ky) {
            for (int kx = 0; kx < 3; ++kx) {
              const int row = y + ky - 1, column = x + kx - 1;  // of the large picture; zeros around it
              const bool inside = row >= 0 && column >= 0 && row < 2 * height && column < 2 * width;
              by_nine += static_cast<double>(weight[as_size(((o * 3 + ky) * 3 + kx) * kIn + c)]) *
                         (inside ? small.at(row / 2, column / 2, c) : 0);
            }
          }
          const int dy = y % 2, dx = x % 2;
          for (int u = 0; u < 2; ++u) {
            for (int v = 0; v < 2; ++v) {
              const int tap = ((((dy * 2 + dx) * kOut + o) * 2 + u) * 2 + v) * kIn + c;
              by_four += static_cast<double>(folded[static_cast<std::size_t>(tap)]) *
                         small.at(y / 2 + dy - 1 + u, x / 2 + dx - 1 + v, c);
            }
          }
        }
        ASSERT_EQ(by_nine, by_four) << "output " << o << " at " << y << ", " << x;
      }
    }
  }
}

TEST(FoldedUpsample, EqualsTheConvolutionOfTheEnlargedPicture) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    check(1, 1, seed);
    check(1, 4, seed);
    check(5, 3, seed);
  }
}

TEST(FoldedUpsample, SumsAreRoundedOnce) {
  // Four taps meet in the last element of the first 2 x 2 kernel: 2^24 + 1 + 1 + 1/2. Added one by one in fp32, every
  // one of the small ones would be lost.
  std::vector<float> weight(9, 0.0f), folded(16);
  const float values[] = {16777216.0f, 1.0f, 1.0f, 0.5f};
  for (int k = 0; k < 4; ++k) weight[as_size((1 + k / 2) * 3 + 1 + k % 2)] = values[k];
  fold_upsampled_weight(weight.data(), 1, 1, folded.data());
  EXPECT_EQ(folded[3], 16777218.0f);
}

}  // namespace
}  // namespace i2i::cuda
