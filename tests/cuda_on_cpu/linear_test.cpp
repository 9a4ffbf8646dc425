// Promise: our product with bias, activation and residual in its epilogue, executed on the CPU, equals its formula as
// closely as fp32 arithmetic would, for any number of rows and channels, in any order of threads and copies, without
// bank conflicts. The verdict is "emulated".
#include "optimized/ops/cuda/linear.h"

#include "tests/cuda_on_cpu/kernel_check.h"
#include "tests/cuda_on_cpu/linear_formula.h"

namespace i2i::cuda {
namespace {

struct Case {
  int rows, in_channels, out_channels;
  Activation activation;
  bool bias, residual;
};

template <typename T>
void check_linear(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", " << c.rows << " rows, " << c.in_channels << " to "
                                  << c.out_channels << ", activation " << static_cast<int>(c.activation) << ", bias "
                                  << c.bias << ", residual " << c.residual << ", seed " << seed);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto m = static_cast<std::size_t>(c.rows), k = static_cast<std::size_t>(c.in_channels),
             n = static_cast<std::size_t>(c.out_channels);
  LinearInputs<T> host{c.rows, c.in_channels, c.out_channels, {}, {}, {}, {}};
  host.input = random_elements<T>(m * k, random);
  host.weight = random_elements<T>(n * k, random, 0, 1 / std::sqrt(static_cast<float>(k)));
  if (c.bias) host.bias = random_elements<T>(n, random);
  if (c.residual) host.residual = random_elements<T>(m * n, random);
  const std::vector<T> none(1);
  const DeviceBuffer<T> input(host.input, "input"), weight(host.weight, "weight"),
      bias(c.bias ? host.bias : none, "bias"), residual(c.residual ? host.residual : none, "residual"),
      out(m * n, "out");
  const Linear call{input.data(),
                    weight.data(),
                    c.bias ? bias.data() : nullptr,
                    c.residual ? residual.data() : nullptr,
                    out.data(),
                    element_type<T>(),
                    c.rows,
                    c.in_channels,
                    c.out_channels,
                    c.activation};
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(linear(call, nullptr), out));
  expect_as_good_as_float(out.host(), linear_formula<double>(host, c.activation),
                          linear_formula<float>(host, c.activation));
}

template <typename T>
void check_all_shapes() {
  in_random_orders_and_landings([](std::uint64_t seed) {
    check_linear<T>({1, 8, 8, Activation::kNone, false, false}, seed);
    check_linear<T>({130, 40, 72, Activation::kNone, true, true}, seed);
    check_linear<T>({66, 200, 136, Activation::kSilu, true, false}, seed);
    check_linear<T>({20, 64, 128, Activation::kQuickGelu, true, false}, seed);
    check_linear<T>({20, 136, 64, Activation::kGelu, true, true}, seed);
  });
}

TEST(LinearKernel, Float16MatchesTheFormula) { check_all_shapes<__half>(); }
TEST(LinearKernel, BFloat16MatchesTheFormula) { check_all_shapes<__nv_bfloat16>(); }

TEST(LinearKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] { check_linear<__half>({30, 168, 40, Activation::kNone, true, true}, 1); });
}

TEST(LinearKernel, EveryModeOfTheTensorCoresIsCloseEnough) {
  in_other_roundings([] {
    check_linear<__half>({30, 168, 40, Activation::kNone, true, true}, 2);
    check_linear<__nv_bfloat16>({30, 168, 40, Activation::kGelu, true, false}, 2);
  });
}

TEST(LinearKernel, HasNoBankConflictsAndReadsWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  const auto traffic = traffic_of([] { check_linear<__half>({128, 128, 128, Activation::kNone, false, false}, 1); });
  EXPECT_GT(traffic.shared_requests, 0u);
  EXPECT_EQ(traffic.shared_wavefronts, traffic.shared_ideal) << traffic.text();
  EXPECT_EQ(traffic.global_sectors, traffic.global_ideal) << traffic.text();
}

TEST(LinearKernel, RefusesWhatItCannotDo) {
  const DeviceBuffer<__half> memory(1024);
  Linear call{memory.data(),    memory.data(), nullptr, nullptr, memory.data(), ElementType::kFloat16, 8, 8, 12,
              Activation::kNone};
  EXPECT_EQ(linear(call, nullptr), cudaErrorInvalidValue);
  call.out_channels = 8;
  call.type = ElementType::kFloat32;
  EXPECT_EQ(linear(call, nullptr), cudaErrorInvalidValue);
  call.type = ElementType::kFloat16;
  call.bias = memory.data() + 1;
  EXPECT_EQ(linear(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
