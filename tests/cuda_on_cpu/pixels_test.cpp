// Promise: pixels become the VAE's input, and its output becomes pixels, with every bit of the reference's fp32
// formula: all 256 bytes, all 65536 16-bit floats, and the fp32 numbers around every tie. The verdict is "emulated".
#include "optimized/ops/cuda/pixels.h"

#include <limits>
#include <numeric>

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

template <typename T>
void check_to_sample(const std::vector<std::uint8_t>& pixels, std::size_t skipped) {
  SCOPED_TRACE(testing::Message() << pixels.size() << " pixels, skipped " << skipped);
  const std::size_t count = pixels.size() - skipped;
  const DeviceBuffer<std::uint8_t> input(pixels, "pixels");
  const DeviceBuffer<T> output(count, "sample");
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(pixels_to_sample(input.data() + skipped, output.data(), element_type<T>(),
                                                               static_cast<std::int64_t>(count), nullptr),
                                              output));
  const auto samples = output.host();
  for (std::size_t i = 0; i < count; ++i) {
    const float expected = 2.0f * (static_cast<float>(pixels[skipped + i]) / 255.0f) - 1.0f;
    ASSERT_EQ(static_cast<float>(samples[i]), static_cast<float>(T(expected))) << "pixel " << int{pixels[skipped + i]};
  }
}

template <typename T>
void check_to_pixels(const std::vector<T>& samples, std::size_t skipped, bool with_image = true,
                     bool with_bytes = true) {
  SCOPED_TRACE(testing::Message() << samples.size() << " samples, skipped " << skipped);
  const std::size_t count = samples.size() - skipped;
  const DeviceBuffer<T> input(samples, "sample");
  const DeviceBuffer<float> image(with_image ? count : 0, "image");
  const DeviceBuffer<std::uint8_t> bytes(with_bytes ? count : 0, "bytes");
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(
      sample_to_pixels(input.data() + skipped, element_type<T>(), with_image ? image.data() : nullptr,
                       with_bytes ? bytes.data() : nullptr, static_cast<std::int64_t>(count), nullptr),
      image, bytes));
  const auto images = image.host();
  const auto rounded = bytes.host();
  for (std::size_t i = 0; i < count; ++i) {
    const float sample = static_cast<float>(samples[skipped + i]), raw = sample * 0.5f + 0.5f;
    const float expected = std::isnan(raw) ? raw : std::min(std::max(raw, 0.0f), 1.0f);
    if (with_image) {
      ASSERT_TRUE(images[i] == expected || (std::isnan(images[i]) && std::isnan(expected))) << sample;
    }
    if (with_bytes) {
      // std::nearbyint rounds half to even.
      const int byte = std::isnan(expected) ? 0 : static_cast<int>(std::nearbyint(255.0f * expected));
      ASSERT_EQ(int{rounded[i]}, byte) << sample;
    }
  }
}

/// All numbers of a 16-bit type, NaN and infinities among them.
template <typename T>
std::vector<T> all_numbers() {
  std::vector<T> numbers(65536);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    std::memcpy(static_cast<void*>(&numbers[i]), &bits, sizeof(bits));
  }
  return numbers;
}

TEST(PixelsKernel, EveryByteBecomesItsSample) {
  std::vector<std::uint8_t> bytes(256);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  in_random_orders([&](std::uint64_t) {
    check_to_sample<float>(bytes, 0);
    check_to_sample<__half>(bytes, 0);
    check_to_sample<__nv_bfloat16>(bytes, 0);
  });
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  for (const std::size_t count : {1, 3, 4, 5, 1023, 1024, 1025, 4 * 15 * 3}) {
    std::vector<std::uint8_t> bytes(count);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    for (const std::size_t skipped : {0, 1}) {
      if (skipped == count) continue;
      check_to_sample<T>(bytes, skipped);
      check_to_pixels<T>(random_elements<T>(count, random), skipped);
    }
  }
}

TEST(PixelsKernel, AnyNumberOfPixelsAtAnyAddress) {
  in_random_orders(check_all_shapes<float>);
  in_random_orders(check_all_shapes<__half>);
  in_random_orders(check_all_shapes<__nv_bfloat16>);
  EXPECT_EQ(pixels_to_sample(nullptr, nullptr, ElementType::kFloat16, 0, nullptr), cudaSuccess);
  EXPECT_EQ(sample_to_pixels(nullptr, ElementType::kFloat16, nullptr, nullptr, 0, nullptr), cudaSuccess);
}

TEST(PixelsKernel, IsCleanInTwentySeeds) {
  const std::vector<std::uint8_t> bytes(1027, 200);
  const std::vector<__half> samples(1027, __half(0.3f));
  in_twenty_orders([&] {
    check_to_sample<__half>(bytes, 0);
    check_to_pixels<__half>(samples, 0);
  });
}

TEST(PixelsKernel, MovesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  constexpr std::size_t kCount = 4096;
  const auto to_sample = traffic_of([] { check_to_sample<__half>(std::vector<std::uint8_t>(kCount, 7), 0); });
  EXPECT_EQ(to_sample.global_sectors, kCount * (1 + sizeof(__half)) / 32) << to_sample.text();
  const auto to_pixels = traffic_of([] { check_to_pixels<__half>(std::vector<__half>(kCount, __half(0.5f)), 0); });
  EXPECT_EQ(to_pixels.global_sectors, kCount * (sizeof(__half) + sizeof(float) + 1) / 32) << to_pixels.text();
}

TEST(PixelsKernel, EverySixteenBitSampleBecomesItsPixel) {
  check_to_pixels(all_numbers<__half>(), 0);
  check_to_pixels(all_numbers<__nv_bfloat16>(), 0);
}

TEST(PixelsKernel, TiesAreRoundedToEven) {
  std::vector<float> samples{0.0f,  -0.0f,  1.0f,      -1.0f,      1.5f,
                             -1.5f, 1e-30f, HUGE_VALF, -HUGE_VALF, std::numeric_limits<float>::quiet_NaN()};
  int ties = 0;
  for (int k = 0; k < 255; ++k) {
    float sample = (static_cast<float>(k) + 0.5f) / 255.0f * 2.0f - 1.0f;
    for (int step = 0; step < 8; ++step) sample = std::nextafter(sample, -2.0f);
    for (int step = 0; step < 16; ++step, sample = std::nextafter(sample, 2.0f)) {
      samples.push_back(sample);
      const float byte = 255.0f * (sample * 0.5f + 0.5f);
      ties += byte - std::floor(byte) == 0.5f;
    }
  }
  EXPECT_GT(ties, 100);
  in_random_orders([&](std::uint64_t) { check_to_pixels(samples, 0); });
  check_to_pixels(samples, 0, true, false);
  check_to_pixels(samples, 0, false, true);
}

}  // namespace
}  // namespace i2i::cuda
