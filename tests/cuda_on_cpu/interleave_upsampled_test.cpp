// Promise: interleaving the four pictures of a folded upsampling convolution, with bias and residual, is as good as its
// formula in fp32 rounded once, for every combination, type and width. The verdict is "emulated".
#include "optimized/ops/cuda/interleave_upsampled.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

struct Case {
  std::size_t images, height, width, channels;
  std::size_t bias_rows = 0;  // 0: no bias
  bool residual = false;
  bool in_place = false;  // out is the residual
};

/// Written from the small pictures' side, as folded_upsample.h has it: picture (dy, dx) without its row and column on
/// the far side goes to every second pixel from (dy, dx) on.
template <typename Real>
std::vector<Real> formula(const Case& c, const std::vector<Real>& input, const std::vector<Real>& bias,
                          const std::vector<Real>& residual) {
  std::vector<Real> out(c.images * 4 * c.height * c.width * c.channels);
  std::size_t from = 0;
  for (std::size_t image = 0; image < c.images; ++image) {
    for (std::size_t row = 0; row < c.height + 1; ++row) {
      for (std::size_t column = 0; column < c.width + 1; ++column) {
        for (const std::size_t dy : {0, 1}) {
          for (const std::size_t dx : {0, 1}) {
            for (std::size_t channel = 0; channel < c.channels; ++channel, ++from) {
              if (row < dy || row >= dy + c.height || column < dx || column >= dx + c.width) continue;
              const std::size_t y = 2 * (row - dy) + dy, x = 2 * (column - dx) + dx;
              const std::size_t to = ((image * 2 * c.height + y) * 2 * c.width + x) * c.channels + channel;
              Real value = input[from];
              if (c.bias_rows > 0) value += bias[image * c.bias_rows / c.images * c.channels + channel];
              out[to] = c.residual ? value + residual[to] : value;
            }
          }
        }
      }
    }
  }
  return out;
}

template <typename T>
void check(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << c.images << " images, " << c.height << " x " << c.width << " pixels, "
                                  << c.channels << " channels, " << c.bias_rows << " bias rows, residual " << c.residual
                                  << ", in place " << c.in_place);
  std::mt19937 random(static_cast<unsigned>(seed));
  const std::size_t count = c.images * 4 * c.height * c.width * c.channels;
  const auto input = random_elements<T>(c.images * (c.height + 1) * (c.width + 1) * 4 * c.channels, random, 0, 3);
  const auto bias = random_elements<T>(c.bias_rows * c.channels, random);
  const auto residual = random_elements<T>(c.residual ? count : 0, random);
  const DeviceBuffer<T> input_device(input, "input"), bias_device(bias, "bias"),
      residual_device(residual, "residual", !c.in_place), out_device(c.in_place ? 0 : count, "out");
  const InterleaveUpsampled call{input_device.data(),
                                 c.bias_rows > 0 ? bias_device.data() : nullptr,
                                 c.residual ? residual_device.data() : nullptr,
                                 c.in_place ? residual_device.data() : out_device.data(),
                                 element_type<T>(),
                                 static_cast<int>(c.images),
                                 static_cast<int>(c.bias_rows),
                                 static_cast<int>(c.height),
                                 static_cast<int>(c.width),
                                 static_cast<int>(c.channels)};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(interleave_upsampled(call, nullptr), out_device));
  expect_as_good_as_float(c.in_place ? residual_device.host() : out_device.host(),
                          formula<double>(c, as<double>(input), as<double>(bias), as<double>(residual)),
                          formula<float>(c, as<float>(input), as<float>(bias), as<float>(residual)));
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  check<T>({2, 5, 7, 64, 1, false, false}, seed);  // a bias for all
  check<T>({4, 2, 3, 40, 2, true, true}, seed);    // a bias for each half of the batch
  check<T>({3, 3, 2, 24, 3, true, false}, seed);   // one for each image
  check<T>({2, 4, 4, 16, 0, true, false}, seed);   // none
  check<T>({1, 6, 5, 8, 0, false, false}, seed);   // nothing but interleaved
  check<T>({3, 4, 5, 9, 3, true, false}, seed);    // no vectors
  check<T>({1, 1, 1, 1, 1, true, true}, seed);
}

TEST(InterleaveUpsampledKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(InterleaveUpsampledKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(InterleaveUpsampledKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(InterleaveUpsampledKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<__half>({3, 3, 4, 72, 3, true, true}, 1); });
}

TEST(InterleaveUpsampledKernel, IsOnePassOfWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  constexpr std::size_t kHeight = 4, kWidth = 8, kChannels = 64, kPixels = 4 * kHeight * kWidth;
  const auto traffic = traffic_of([] { check<__half>({1, kHeight, kWidth, kChannels, 1, true}, 1); });
  // Input, residual and out once; and every warp reads the 64 channels' bias, a pixel's 128 bytes.
  const std::size_t passes = 3 * kPixels * kChannels * 2 / 32, biases = kPixels * kChannels / (32 * 8) * (128 / 32);
  EXPECT_EQ(traffic.global_sectors, passes + biases) << traffic.text();
}

TEST(InterleaveUpsampledKernel, RefusesTooMuch) {
  InterleaveUpsampled call{};
  call.images = 1;
  call.height = 1 << 9;
  call.width = 1 << 10;
  call.channels = 1 << 10;
  EXPECT_EQ(interleave_upsampled(call, nullptr), cudaErrorInvalidValue);  // 2^31 elements
}

}  // namespace
}  // namespace i2i::cuda
