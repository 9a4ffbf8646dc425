// Promise: sinusoidal embeddings are, timestep by timestep, as good as their formula in fp32 rounded once. The verdict
// is "emulated": no GPU has run it.
#include "optimized/ops/cuda/timestep_embedding.h"

#include "tests/cuda_on_cpu/rows_testing.h"

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
void check(std::size_t channels, bool flip, float shift) {
  SCOPED_TRACE(testing::Message() << channels << " channels, flipped " << flip << ", shift " << shift);
  const std::vector<float> timesteps{0, 0.029f, 1, 3.14159265f, 42.75f, 500, 999, 1024, 8191.5f, 1e6f};
  const DeviceBuffer<float> timesteps_device(timesteps, "timesteps");
  const DeviceBuffer<T> out(timesteps.size() * channels, "out");
  const TimestepEmbedding call{timesteps_device.data(),
                               out.data(),
                               element_type<T>(),
                               static_cast<int>(timesteps.size()),
                               static_cast<int>(channels),
                               flip,
                               shift};
  ASSERT_EQ(timestep_embedding(call, nullptr), cudaSuccess) << cuda_on_cpu::last_report().text();
  expect_clean_launch();
  ASSERT_EQ(out.unwritten_bytes(), 0u);
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
void check_all_shapes() {
  check<T>(320, true, 0);   // the UNet's
  check<T>(256, true, 0);   // SDXL's sizes
  check<T>(320, false, 1);  // the other convention
  check<T>(33, true, 0);    // an odd channel
  check<T>(40, false, 0);
}

TEST(TimestepEmbeddingKernel, IsAsGoodAsTheFormula) {
  in_random_orders([](std::uint64_t) {
    check_all_shapes<float>();
    check_all_shapes<__half>();
    check_all_shapes<__nv_bfloat16>();
  });
}

}  // namespace
}  // namespace i2i::cuda
