// Promise: LayerNorm with its residual, executed on the CPU in many orders, is as good as its formula in fp32 rounded
// once, for every type, row length and alignment, and moves each byte of a row once. The verdict is "emulated".
#include "optimized/ops/cuda/layer_norm.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

struct Case {
  std::size_t rows, channels;
  bool residual = false;
  bool sum = false;
  bool in_place = false;
  float mean = 0.5f, deviation = 2;
  std::size_t skipped = 0;  // elements in front of the first row, against alignment
};

template <typename Real>
std::vector<Real> formula(const Case& c, const std::vector<Real>& input, const std::vector<Real>& residual,
                          const std::vector<Real>& weight, const std::vector<Real>& bias, Real eps) {
  std::vector<Real> out;
  for (std::size_t row = 0; row < c.rows; ++row) {
    std::vector<Real> x(c.channels);
    Real mean = 0, variance = 0;
    for (std::size_t k = 0; k < c.channels; ++k) {
      const std::size_t at = c.skipped + row * c.channels + k;
      x[k] = input[at] + (c.residual ? residual[at] : 0);
      mean += x[k];
    }
    mean /= static_cast<Real>(c.channels);
    for (const Real value : x) variance += (value - mean) * (value - mean);
    const Real scale = 1 / std::sqrt(variance / static_cast<Real>(c.channels) + eps);
    for (std::size_t k = 0; k < c.channels; ++k) out.push_back((x[k] - mean) * scale * weight[k] + bias[k]);
  }
  return out;
}

template <typename T>
void check(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << c.rows << " rows of " << c.channels << ", residual " << c.residual << ", sum "
                                  << c.sum << ", in place " << c.in_place << ", skipped " << c.skipped);
  std::mt19937 random(static_cast<unsigned>(seed));
  constexpr float kEps = 1e-5f;
  const std::size_t count = c.rows * c.channels, held = count + c.skipped;
  const auto input = random_elements<T>(held, random, c.mean, c.deviation);
  const auto residual = random_elements<T>(c.residual ? held : 0, random);
  const auto weight = random_elements<float>(c.channels, random, 1, 0.3f);
  const auto bias = random_elements<float>(c.channels, random, 0, 0.3f);
  const DeviceBuffer<T> input_device(input, "input", !c.in_place), residual_device(residual, "residual", !c.in_place);
  const DeviceBuffer<float> weight_device(weight, "weight"), bias_device(bias, "bias");
  const DeviceBuffer<T> out_device(c.in_place ? 0 : count, "out"), sum_device(c.sum && !c.in_place ? count : 0, "sum");
  LayerNorm call{};
  call.input = input_device.data() + c.skipped;
  call.residual = c.residual ? residual_device.data() + c.skipped : nullptr;
  call.type = element_type<T>();
  call.weight = weight_device.data();
  call.bias = bias_device.data();
  call.out = c.in_place ? input_device.data() + c.skipped : out_device.data();
  T* const sum_in_place = c.residual ? residual_device.data() + c.skipped : nullptr;
  call.sum = !c.sum ? nullptr : c.in_place ? sum_in_place : sum_device.data();
  call.rows = static_cast<std::int64_t>(c.rows);
  call.channels = static_cast<int>(c.channels);
  call.eps = kEps;

  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(layer_norm(call, nullptr), out_device, sum_device));
  const auto tail = [&](const std::vector<T>& values) {
    return std::vector<T>(values.end() - static_cast<std::ptrdiff_t>(count), values.end());
  };
  expect_as_good_as_float(
      tail(c.in_place ? input_device.host() : out_device.host()),
      formula<double>(c, as<double>(input), as<double>(residual), as<double>(weight), as<double>(bias), double{kEps}),
      formula<float>(c, as<float>(input), as<float>(residual), weight, bias, kEps));
  if (!c.sum) return;
  const auto sum = tail(c.in_place ? residual_device.host() : sum_device.host());
  for (std::size_t i = 0; i < count; ++i) {
    const float x =
        static_cast<float>(input[c.skipped + i]) + (c.residual ? static_cast<float>(residual[c.skipped + i]) : 0.0f);
    ASSERT_EQ(static_cast<float>(sum[i]), static_cast<float>(T(x))) << "sum, element " << i;
  }
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  for (const std::size_t channels : {8, 64, 320, 512, 520, 640, 768, 1024, 1032, 1280, 1288, 2048})
    check<T>({5, channels, channels % 3 != 0, channels % 5 == 0 && channels % 3 != 0, channels % 7 == 0}, seed);
  check<T>({3, 1280, true, true, true}, seed);          // in place, and the sum over the residual
  check<T>({3, 320, false, true, false}, seed);         // the sum of one
  check<T>({2, 2056, true, true, false}, seed);         // too long for registers
  check<T>({5, 37, true, true, false}, seed);           // no vectors
  check<T>({4, 1, true, false, false}, seed);           // a single channel: 0 * weight + bias
  check<T>({2, 64, true, true, false, 0, 1, 3}, seed);  // not aligned
}

TEST(LayerNormKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(LayerNormKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(LayerNormKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(LayerNormKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] {
    check<__half>({9, 320, true, true, false}, 1);
    check<__half>({9, 37, true, true, false}, 1);
  });
}

TEST(LayerNormKernel, ALargeMeanCostsNoDigits) {
  check<float>({4, 640, false, false, false, 1000.0f, 0.1f}, 1);
  check<float>({4, 641, false, false, false, 1000.0f, 0.1f}, 1);
  check<__half>({4, 640, true, true, false, 30.0f, 0.1f}, 1);
}

TEST(LayerNormKernel, ReadsARowOnceAndWritesItOnce) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  constexpr std::size_t kRows = 8, kChannels = 1280, kSector = 32;
  // Weight and bias are fp32, a lane's eight lie side by side, and are fetched by halves: their sectors are met twice.
  const std::size_t row = kChannels * sizeof(__half) / kSector, weights = 2 * 2 * kChannels * sizeof(float) / kSector;
  for (const bool residual : {false, true}) {
    const auto traffic = traffic_of([&] { check<__half>({kRows, kChannels, residual, residual}, 1); });
    // Input and out; with the residual, that and the sum too.
    EXPECT_EQ(traffic.global_sectors, kRows * ((residual ? 4 : 2) * row + weights)) << traffic.text();
  }
}

}  // namespace
}  // namespace i2i::cuda
