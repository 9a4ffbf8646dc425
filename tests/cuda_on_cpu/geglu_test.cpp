// Promise: the GEGLU kernel, executed on the CPU, equals value * gelu(gate) as closely as fp32 arithmetic would, for
// any number of rows and channels, in any order of threads and copies, without bank conflicts. The verdict is
// "emulated".
#include "optimized/ops/cuda/geglu.h"

#include "tests/cuda_on_cpu/kernel_check.h"
#include "tests/cuda_on_cpu/linear_formula.h"

namespace i2i::cuda {
namespace {

template <typename T>
void check_geglu(int rows, int in_channels, int out_channels, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", " << rows << " rows, " << in_channels << " to "
                                  << out_channels << ", bias " << with_bias << ", seed " << seed);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto m = static_cast<std::size_t>(rows), k = static_cast<std::size_t>(in_channels),
             n = static_cast<std::size_t>(out_channels);
  LinearInputs<T> host{rows, in_channels, 2 * out_channels, {}, {}, {}, {}};
  host.input = random_elements<T>(m * k, random);
  host.weight = random_elements<T>(2 * n * k, random, 0, 1 / std::sqrt(static_cast<float>(k)));
  if (with_bias) host.bias = random_elements<T>(2 * n, random);
  const DeviceBuffer<T> input(host.input, "input"), weight(host.weight, "weight"),
      bias(with_bias ? host.bias : std::vector<T>(1), "bias"), out(m * n, "out");
  const Linear call{input.data(),
                    weight.data(),
                    with_bias ? bias.data() : nullptr,
                    nullptr,
                    out.data(),
                    element_type<T>(),
                    rows,
                    in_channels,
                    out_channels,
                    Activation::kNone};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(geglu(call, nullptr), out));
  expect_as_good_as_float(out.host(), geglu_formula<double>(host), geglu_formula<float>(host));
}

template <typename T>
void check_all_shapes() {
  in_random_orders_and_landings([](std::uint64_t seed) {
    check_geglu<T>(1, 8, 8, true, seed);
    check_geglu<T>(77, 40, 72, true, seed);
    check_geglu<T>(129, 200, 64, false, seed);
    check_geglu<T>(64, 32, 136, true, seed);
    check_geglu<T>(20, 168, 16, true, seed);
  });
}

TEST(GegluKernel, Float16MatchesTheFormula) { check_all_shapes<__half>(); }
TEST(GegluKernel, BFloat16MatchesTheFormula) { check_all_shapes<__nv_bfloat16>(); }

TEST(GegluKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check_geglu<__half>(30, 168, 40, true, 1); });
}

TEST(GegluKernel, EveryModeOfTheTensorCoresIsCloseEnough) {
  in_other_roundings([] {
    check_geglu<__half>(30, 168, 40, true, 2);
    check_geglu<__nv_bfloat16>(30, 168, 40, true, 2);
  });
}

TEST(GegluKernel, HasNoBankConflictsAndReadsWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check_geglu<__half>(128, 128, 64, false, 1); });
  EXPECT_GT(traffic.shared_requests, 0u);
  EXPECT_EQ(traffic.shared_wavefronts, traffic.shared_ideal) << traffic.text();
  EXPECT_EQ(traffic.global_sectors, traffic.global_ideal) << traffic.text();
}

TEST(GegluKernel, RefusesWhatItCannotDo) {
  const DeviceBuffer<__half> memory(1024);
  Linear call{memory.data(),    memory.data(), nullptr, nullptr, memory.data(), ElementType::kFloat16, 8, 8, 8,
              Activation::kNone};
  call.in_channels = 12;
  EXPECT_EQ(geglu(call, nullptr), cudaErrorInvalidValue);
  call.in_channels = 8;
  call.activation = Activation::kSilu;
  EXPECT_EQ(geglu(call, nullptr), cudaErrorInvalidValue);
  call.activation = Activation::kNone;
  call.residual = memory.data();
  EXPECT_EQ(geglu(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
