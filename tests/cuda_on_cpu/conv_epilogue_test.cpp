// Promise: bias, SiLU and residual in one pass are as good as their formula in fp32 rounded once, for every
// combination, type and width. The verdict is "emulated".
#include "optimized/ops/cuda/conv_epilogue.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

struct Case {
  std::size_t images, pixels, channels;
  std::size_t bias_rows = 0;  // 0: no bias
  bool residual = false;
  bool silu = false;
  bool in_place = false;
};

template <typename Real>
std::vector<Real> formula(const Case& c, const std::vector<Real>& input, const std::vector<Real>& bias,
                          const std::vector<Real>& residual) {
  std::vector<Real> out(input.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t image = i / (c.pixels * c.channels), channel = i % c.channels;
    Real x = input[i];
    if (c.bias_rows > 0) x += bias[image * c.bias_rows / c.images * c.channels + channel];
    if (c.silu) x = x / (1 + std::exp(-x));
    out[i] = c.residual ? x + residual[i] : x;
  }
  return out;
}

template <typename T>
void check(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << c.images << " images, " << c.pixels << " pixels, " << c.channels << " channels, "
                                  << c.bias_rows << " bias rows, residual " << c.residual << ", silu " << c.silu
                                  << ", in place " << c.in_place);
  std::mt19937 random(static_cast<unsigned>(seed));
  const std::size_t count = c.images * c.pixels * c.channels;
  const auto input = random_elements<T>(count, random, 0, 3);
  const auto bias = random_elements<T>(c.bias_rows * c.channels, random);
  const auto residual = random_elements<T>(c.residual ? count : 0, random);
  const DeviceBuffer<T> input_device(input, "input", !c.in_place), bias_device(bias, "bias"),
      residual_device(residual, "residual"), out_device(c.in_place ? 0 : count, "out");
  const ConvEpilogue call{input_device.data(),
                          c.bias_rows > 0 ? bias_device.data() : nullptr,
                          c.residual ? residual_device.data() : nullptr,
                          c.in_place ? input_device.data() : out_device.data(),
                          element_type<T>(),
                          static_cast<int>(c.images),
                          static_cast<int>(c.bias_rows),
                          static_cast<std::int64_t>(c.pixels),
                          static_cast<int>(c.channels),
                          c.silu};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(conv_epilogue(call, nullptr), out_device));
  expect_as_good_as_float(c.in_place ? input_device.host() : out_device.host(),
                          formula<double>(c, as<double>(input), as<double>(bias), as<double>(residual)),
                          formula<float>(c, as<float>(input), as<float>(bias), as<float>(residual)));
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  check<T>({2, 35, 64, 1, false, false, false}, seed);  // a bias for all
  check<T>({4, 9, 320, 2, true, true, true}, seed);     // a bias for each half of the batch
  check<T>({3, 7, 40, 3, true, false, false}, seed);    // one for each image
  check<T>({2, 17, 16, 0, true, true, false}, seed);    // none
  check<T>({3, 50, 9, 3, true, true, false}, seed);     // no vectors
  check<T>({1, 1, 1, 1, false, true, true}, seed);
}

TEST(ConvEpilogueKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(ConvEpilogueKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(ConvEpilogueKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(ConvEpilogueKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<__half>({3, 50, 72, 3, true, true, true}, 1); });
}

TEST(ConvEpilogueKernel, IsOnePassOfWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  constexpr std::size_t kPixels = 64, kChannels = 64;
  const auto traffic = traffic_of([] { check<__half>({1, kPixels, kChannels, 1, true, true}, 1); });
  // Input, residual and out once; and every warp reads the 64 channels' bias, a pixel's 128 bytes.
  const std::size_t passes = 3 * kPixels * kChannels * 2 / 32, biases = kPixels * kChannels / (32 * 8) * (128 / 32);
  EXPECT_EQ(traffic.global_sectors, passes + biases) << traffic.text();
}

TEST(ConvEpilogueKernel, RefusesTooMuch) {
  ConvEpilogue call{};
  call.images = 1;
  call.pixels = std::int64_t{1} << 21;
  call.channels = 1024;
  EXPECT_EQ(conv_epilogue(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
