// Promise: GroupNorm + SiLU, executed on the CPU in many orders, is as good as its formula in fp32 rounded once, in one
// pass and in two, for every type and ragged shape; it keeps its digits where the mean is large; it reads and writes
// whole sectors. The verdict is "emulated".
#include "optimized/ops/cuda/group_norm_silu.h"

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

struct Case {
  std::int64_t images, pixels;
  int channels, groups;
  bool silu = true;
  bool added = false;
  bool in_place = false;
  std::size_t shared_bytes = GroupNormSilu{}.shared_bytes;
  float mean = 0.5f, deviation = 2;
};
constexpr std::size_t kTwoPasses = 0;    // no shared memory at all
constexpr std::size_t kMergedApart = 1;  // the same, and a kernel that merges the pieces
constexpr std::size_t kWays[] = {GroupNormSilu{}.shared_bytes, kTwoPasses, kMergedApart};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.images << " images, " << c.pixels << " pixels, " << c.channels << " channels, " << c.groups
             << " groups, silu " << c.silu << ", added " << c.added << ", in place " << c.in_place << ", shared "
             << c.shared_bytes;
}

template <typename Real>
std::vector<Real> formula(const Case& c, const std::vector<Real>& input, const std::vector<Real>& added,
                          const std::vector<Real>& weight, const std::vector<Real>& bias, Real eps) {
  const auto channels = static_cast<std::size_t>(c.channels), per_group = channels / static_cast<std::size_t>(c.groups);
  const auto pixels = static_cast<std::size_t>(c.pixels);
  std::vector<Real> x = input, out(input.size());
  for (std::size_t i = 0; i < x.size() && c.added; ++i)
    x[i] += added[i / (pixels * channels) * channels + i % channels];
  for (std::size_t image = 0; image < static_cast<std::size_t>(c.images); ++image) {
    for (std::size_t first = 0; first < channels; first += per_group) {
      const auto at = [&](std::size_t pixel, std::size_t k) { return (image * pixels + pixel) * channels + first + k; };
      Real mean = 0, variance = 0;
      for (std::size_t p = 0; p < pixels; ++p) {
        for (std::size_t k = 0; k < per_group; ++k) mean += x[at(p, k)];
      }
      mean /= static_cast<Real>(pixels * per_group);
      for (std::size_t p = 0; p < pixels; ++p) {
        for (std::size_t k = 0; k < per_group; ++k) variance += (x[at(p, k)] - mean) * (x[at(p, k)] - mean);
      }
      variance /= static_cast<Real>(pixels * per_group);
      const Real scale = 1 / std::sqrt(variance + eps);
      for (std::size_t p = 0; p < pixels; ++p) {
        for (std::size_t k = 0; k < per_group; ++k) {
          const Real y = (x[at(p, k)] - mean) * scale * weight[first + k] + bias[first + k];
          out[at(p, k)] = c.silu ? y / (1 + std::exp(-y)) : y;
        }
      }
    }
  }
  return out;
}

template <typename T>
void check(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << c);
  std::mt19937 random(static_cast<unsigned>(seed));
  constexpr float kEps = 1e-5f;
  const auto count = static_cast<std::size_t>(c.images * c.pixels * c.channels);
  const auto channels = static_cast<std::size_t>(c.channels);
  const auto input = random_elements<T>(count, random, c.mean, c.deviation);
  const auto added = random_elements<T>(c.added ? static_cast<std::size_t>(c.images) * channels : 0, random);
  const auto weight = random_elements<float>(channels, random, 1, 0.3f);
  const auto bias = random_elements<float>(channels, random, 0, 0.3f);

  const DeviceBuffer<T> input_device(input, "input", !c.in_place), added_device(added, "added");
  const DeviceBuffer<float> weight_device(weight, "weight"), bias_device(bias, "bias");
  const DeviceBuffer<T> separate(c.in_place ? 0 : count, "out");
  GroupNormSilu call{};
  call.input = input_device.data();
  call.added = c.added ? added_device.data() : nullptr;
  call.type = element_type<T>();
  call.weight = weight_device.data();
  call.bias = bias_device.data();
  call.out = c.in_place ? input_device.data() : separate.data();
  call.images = c.images;
  call.pixels = c.pixels;
  call.channels = c.channels;
  call.groups = c.groups;
  call.eps = kEps;
  call.silu = c.silu;
  call.shared_bytes = c.shared_bytes;
  if (c.shared_bytes == kMergedApart) call.merge_pixels = 1;
  const std::size_t workspace_bytes = group_norm_silu_workspace_bytes(call);
  ASSERT_EQ(workspace_bytes > 0, c.shared_bytes <= kMergedApart);
  const DeviceBuffer<float> workspace(workspace_bytes / sizeof(float), "workspace");
  call.workspace = workspace_bytes == 0 ? nullptr : workspace.data();

  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(group_norm_silu(call, nullptr), workspace, separate));
  expect_as_good_as_float(
      c.in_place ? input_device.host() : separate.host(),
      formula<double>(c, as<double>(input), as<double>(added), as<double>(weight), as<double>(bias), double{kEps}),
      formula<float>(c, as<float>(input), as<float>(added), weight, bias, kEps));
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  for (const std::size_t shared : kWays) {
    check<T>({2, 35, 320, 32, true, true, false, shared}, seed);    // ten channels a group: vectors straddle groups
    check<T>({1, 64, 64, 32, true, false, true, shared}, seed);     // two a group
    check<T>({1, 1030, 48, 3, false, false, false, shared}, seed);  // no SiLU; pieces of unequal size
    check<T>({2, 1, 160, 32, true, false, false, shared}, seed);    // a single pixel
    check<T>({1, 9, 30, 5, true, true, false, shared}, seed);       // no vectors: 30 channels
    check<T>({1, 5, 7, 7, true, false, true, shared}, seed);        // groups of one channel
    check<T>({1, 3, 24, 1, true, true, false, shared}, seed);       // LayerNorm-like
    check<T>({3, 20, 24, 3, true, true, false, shared}, seed);      // three images, each with its own added row
    check<T>({1, 261, 128, 4, true, false, false, shared}, seed);   // two passes: pieces of unequal size in every type
  }
}

TEST(GroupNormSiluKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(GroupNormSiluKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(GroupNormSiluKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(GroupNormSiluKernel, IsCleanInTwentySeeds) {
  for (const std::size_t shared : kWays)
    in_twenty_orders([&] { check<__half>({1, 260, 128, 4, true, true, false, shared}, 1); });
}

TEST(GroupNormSiluKernel, MoreColumnsThanThreadsComeInTurns) {
  check<float>({1, 3, 1032, 3, true, true, false, kTwoPasses}, 1);  // 344 columns: no run of whole sectors and groups
  check<__half>({1, 4, 301, 1, true, false, false}, 1);             // 301 columns of one element
}

TEST(GroupNormSiluKernel, ALargeMeanCostsNoDigits) {
  for (const std::size_t shared : kWays) {
    // E[x^2] - E[x]^2 in fp32 would leave nothing of this variance: 1000^2 * 2^-24 = 0.06 beside 0.01.
    check<float>({1, 300, 32, 4, false, false, false, shared, 1000.0f, 0.1f}, 1);
    check<__half>({1, 300, 32, 4, true, false, false, shared, 30.0f, 0.1f}, 1);
  }
}

TEST(GroupNormSiluKernel, ReadsAndWritesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  for (const Case& c : {Case{1, 256, 160, 16}, Case{1, 4096, 32, 8, true, false, false, kTwoPasses}}) {
    const auto traffic = traffic_of([&] { check<__half>(c, 1); });
    EXPECT_LE(static_cast<double>(traffic.global_sectors), 1.1 * static_cast<double>(traffic.global_ideal))
        << traffic.text();
    // The sums of a block's threads meet in shared memory once: two lanes in a bank there cost little.
    EXPECT_LE(static_cast<double>(traffic.shared_wavefronts), 1.3 * static_cast<double>(traffic.shared_ideal))
        << traffic.text();
  }
}

TEST(GroupNormSiluKernel, RefusesWhatItCannotDo) {
  GroupNormSilu call{};
  call.images = call.pixels = 1;
  call.channels = 10;
  call.groups = 3;
  EXPECT_EQ(group_norm_silu(call, nullptr), cudaErrorInvalidValue);
  call.groups = 5;
  call.shared_bytes = kTwoPasses;
  EXPECT_EQ(group_norm_silu(call, nullptr), cudaErrorInvalidValue) << "it needs a workspace";
}

}  // namespace
}  // namespace i2i::cuda
