// Promise: value * gelu(gate) is as good as its formula in fp32 rounded once, for every type and width. The verdict is
// "emulated".
#include "optimized/ops/cuda/gated_gelu.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

template <typename Real>
std::vector<Real> formula(std::size_t rows, std::size_t channels, const std::vector<Real>& input) {
  std::vector<Real> out;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < channels; ++c) {
      const Real value = input[row * 2 * channels + c], gate = input[row * 2 * channels + channels + c];
      out.push_back(value * gate / 2 * (1 + std::erf(gate / std::sqrt(Real(2)))));
    }
  }
  return out;
}

/// @param skipped  elements before input and out: not a multiple of 16 bytes
template <typename T>
void check(std::size_t rows, std::size_t channels, std::uint64_t seed, std::size_t skipped = 0) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", " << rows << " rows of " << channels);
  std::mt19937 random(static_cast<unsigned>(seed));
  auto input = random_elements<T>(skipped + rows * 2 * channels, random, 0, 2);
  const DeviceBuffer<T> input_device(input, "input"), out(rows * channels, "out");
  const GatedGelu call{input_device.data() + skipped, out.data(), element_type<T>(), static_cast<std::int64_t>(rows),
                       static_cast<int>(channels)};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(gated_gelu(call, nullptr), out));
  input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(skipped));
  expect_as_good_as_float(out.host(), formula<double>(rows, channels, as<double>(input)),
                          formula<float>(rows, channels, as<float>(input)));
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  check<T>(3, 320, seed);
  check<T>(70, 40, seed);  // more than one block
  check<T>(1, 8, seed);
  check<T>(9, 30, seed);  // no vectors
  check<T>(5, 1, seed);
  check<T>(4, 16, seed, 1);  // not aligned
}

TEST(GatedGeluKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(GatedGeluKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(GatedGeluKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(GatedGeluKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<__half>(70, 40, 1); });
}

TEST(GatedGeluKernel, ReadsAndWritesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check<__half>(16, 320, 1); });
  EXPECT_EQ(traffic.global_sectors, 3u * 16 * 320 * 2 / 32) << traffic.text();
}

TEST(GatedGeluKernel, RefusesTooMuch) {
  GatedGelu call{};
  call.rows = std::int64_t{1} << 20;
  call.channels = 2048;
  EXPECT_EQ(gated_gelu(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
