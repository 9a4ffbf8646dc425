// Promise: the UNet's input holds each row's scaled latents beside its condition, bit for bit, for every batch order
// and width. The verdict is "emulated".
#include "optimized/ops/cuda/unet_input.h"

#include "tests/cuda_on_cpu/kernel_check.h"
#include "tests/cuda_on_cpu/sizes.h"

namespace i2i::cuda {
namespace {

template <typename T>
void check(int images, int rows, int conditions, int channels, int extra, int pixels, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << images << " images, " << rows << " rows, " << conditions << " conditions, "
                                  << channels << " + " << extra << " channels, " << pixels << " pixels");
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto size = [](int a, int b, int c) { return as_size(a * b * c); };
  const auto latents = random_elements<float>(size(images, channels, pixels), random);
  const auto condition = random_elements<float>(size(conditions, extra, pixels), random);
  const DeviceBuffer<float> latents_device(latents, "latents"), condition_device(condition, "condition");
  const DeviceBuffer<T> out(size(rows, pixels, channels + extra), "out");
  const float scale = 0.3183f;
  const UNetInput call{latents_device.data(),
                       extra == 0 ? nullptr : condition_device.data(),
                       scale,
                       out.data(),
                       element_type<T>(),
                       images,
                       rows,
                       conditions,
                       channels,
                       extra,
                       pixels};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(unet_input(call, nullptr), out));
  const auto values = out.host();
  std::size_t i = 0;
  for (int row = 0; row < rows; ++row) {
    for (int pixel = 0; pixel < pixels; ++pixel) {
      for (int c = 0; c < channels + extra; ++c, ++i) {
        const float expected =
            c < channels ? latents[as_size((row % images * channels + c) * pixels + pixel)] * scale
                         : condition[as_size((row * conditions / rows * extra + c - channels) * pixels + pixel)];
        ASSERT_EQ(static_cast<float>(values[i]), static_cast<float>(T(expected)))
            << "row " << row << ", pixel " << pixel << ", channel " << c;
      }
    }
  }
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  check<T>(1, 1, 0, 4, 0, 64, seed);   // no guidance
  check<T>(2, 4, 0, 4, 0, 300, seed);  // two images, guided
  check<T>(1, 3, 3, 4, 4, 70, seed);   // InstructPix2Pix: a condition each
  check<T>(2, 6, 3, 4, 4, 33, seed);   // of two images: row 1 still takes the first condition
  check<T>(2, 6, 2, 4, 5, 257, seed);  // nine channels: no vectors
  check<T>(3, 3, 1, 3, 2, 1, seed);
}

TEST(UNetInputKernel, IsExact) {
  in_random_orders([](std::uint64_t seed) {
    check_all_shapes<float>(seed);
    check_all_shapes<__half>(seed);
    check_all_shapes<__nv_bfloat16>(seed);
  });
}

TEST(UNetInputKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<__half>(2, 6, 3, 4, 4, 300, 1); });
}

TEST(UNetInputKernel, StoresWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check<__half>(1, 3, 3, 4, 4, 256, 1); });
  EXPECT_EQ(traffic.global_sectors, traffic.global_ideal) << traffic.text();
}

TEST(UNetInputKernel, RefusesRowsThatAreNoMultiple) {
  const float value = 0;
  UNetInput call{};
  call.latents = &value;
  call.images = 2;
  call.rows = 3;
  call.channels = 4;
  call.pixels = 1;
  EXPECT_EQ(unet_input(call, nullptr), cudaErrorInvalidValue);
  call.rows = 4;
  call.extra = 4;
  EXPECT_EQ(unet_input(call, nullptr), cudaErrorInvalidValue) << "four more channels from nowhere";
  call.condition = &value;
  call.conditions = 3;
  EXPECT_EQ(unet_input(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
