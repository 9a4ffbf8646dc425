// Promise: sinusoidal embeddings are, timestep by timestep, as good as their formula in fp32 rounded once. The verdict
// is "emulated".
#include "optimized/ops/cuda/timestep_embedding.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

template <typename Real>
std::vector<Real> formula(Real timestep, std::size_t channels, bool flip, Real shift) {
  const std::size_t half = channels / 2;
  std::vector<Real> out(channels, 0);
  for (std::size_t i = 0; i < half; ++i) {
    const Real exponent = -std::log(Real{10000}) * static_cast<Real>(i) / (static_cast<Real>(half) - shift);
    const Real angle = timestep * std::exp(exponent);
    out[flip ? half + i : i] = std::sin(angle);
    out[flip ? i : half + i] = std::cos(angle);
  }
  return out;
}

template <typename T>
void check(std::size_t channels, bool flip, float shift, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << channels << " channels, flipped " << flip << ", shift " << shift);
  std::vector<float> timesteps{0, 0.029f, 1, 3.14159265f, 42.75f, 500, 999, 1024, 8191.5f, 1e6f};
  std::mt19937 random(static_cast<unsigned>(seed));
  std::uniform_real_distribution<float> anywhere(0, 1000);
  for (int k = 0; k < 3; ++k) timesteps.push_back(anywhere(random));
  const DeviceBuffer<float> timesteps_device(timesteps, "timesteps");
  const DeviceBuffer<T> out(timesteps.size() * channels, "out");
  const TimestepEmbedding call{timesteps_device.data(),
                               out.data(),
                               element_type<T>(),
                               static_cast<int>(timesteps.size()),
                               static_cast<int>(channels),
                               flip,
                               shift};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(timestep_embedding(call, nullptr), out));
  const auto values = out.host();
  for (std::size_t row = 0; row < timesteps.size(); ++row) {
    SCOPED_TRACE(testing::Message() << "timestep " << timesteps[row]);
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(row * channels);
    expect_as_good_as_float(std::vector<T>(first, first + static_cast<std::ptrdiff_t>(channels)),
                            formula<double>(double{timesteps[row]}, channels, flip, double{shift}),
                            formula<float>(timesteps[row], channels, flip, shift));
  }
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  check<T>(320, true, 0, seed);   // the UNet's
  check<T>(256, true, 0, seed);   // SDXL's sizes
  check<T>(320, false, 1, seed);  // the other convention
  check<T>(33, true, 0, seed);    // an odd channel
  check<T>(40, false, 0, seed);
}

TEST(TimestepEmbeddingKernel, IsAsGoodAsTheFormula) {
  in_random_orders(check_all_shapes<float>);
  in_random_orders(check_all_shapes<__half>);
  in_random_orders(check_all_shapes<__nv_bfloat16>);
}

TEST(TimestepEmbeddingKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check<__half>(321, true, 0, 1); });
}

TEST(TimestepEmbeddingKernel, WritesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check<float>(256, true, 0, 1); });
  EXPECT_EQ(traffic.global_sectors, traffic.global_ideal) << traffic.text();
}

}  // namespace
}  // namespace i2i::cuda
