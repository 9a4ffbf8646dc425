// Promise: each CUDA kernel of ours, executed on the CPU in many orders, equals its formula in double, touches no byte
// it should not, and leaves none unwritten. The verdict is "emulated": no GPU has run it.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>

#include "optimized/ops/cuda/guided_step.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda {
namespace {

using cuda_on_cpu::DeviceBuffer;

constexpr float kGuidanceScale = 7.5f, kImageGuidanceScale = 1.5f;

template <typename T>
ElementType element_type() {
  if constexpr (std::is_same_v<T, float>) return ElementType::kFloat32;
  if constexpr (std::is_same_v<T, __half>) return ElementType::kFloat16;
  return ElementType::kBFloat16;
}

std::vector<float> normal(std::size_t count, std::mt19937& random) {
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

template <typename T>
void check_guided_step(int rows, std::int64_t count, int histories, bool with_noise, bool in_place) {
  SCOPED_TRACE(testing::Message() << "rows " << rows << ", count " << count << ", histories " << histories << ", noise "
                                  << with_noise << ", in place " << in_place);
  std::mt19937 random(static_cast<unsigned>(rows * 1000 + count));
  const auto n = static_cast<std::size_t>(count);
  const std::vector<float> wide = normal(n * static_cast<std::size_t>(rows), random);
  std::vector<T> noise_pred_host;
  for (const float value : wide) noise_pred_host.push_back(T(value));
  const auto sample_host = normal(n, random), noise_host = normal(n, random);
  const GuidedStepRow row{0.9f,
                          -0.3f,
                          with_noise ? 0.2f : 0.0f,
                          {histories > 0 ? 0.4f : 0, histories > 1 ? -0.2f : 0, histories > 2 ? 0.1f : 0},
                          1.1f,
                          -0.7f};

  const DeviceBuffer<T> noise_pred(noise_pred_host, "noise_pred");
  const DeviceBuffer<float> sample(sample_host, "sample", !in_place), noise(noise_host, "noise");
  const DeviceBuffer<GuidedStepRow> rows_device(std::vector<GuidedStepRow>{row}, "row");
  std::vector<std::vector<float>> history_host;
  std::vector<std::unique_ptr<DeviceBuffer<float>>> history;
  for (int k = 0; k < histories; ++k) {
    history_host.push_back(normal(n, random));
    // The oldest history's memory takes the remembered output, as the pipeline does it.
    history.push_back(std::make_unique<DeviceBuffer<float>>(history_host.back(), "history", k < 2));
  }
  const DeviceBuffer<float> separate_output(n, "prev_sample"), separate_remembered(n, "remembered");

  GuidedStep step{};
  step.noise_pred = noise_pred.data();
  step.noise_pred_type = element_type<T>();
  step.guidance_rows = rows;
  step.guidance_scale = kGuidanceScale;
  step.image_guidance_scale = kImageGuidanceScale;
  step.sample = sample.data();
  step.noise = with_noise ? noise.data() : nullptr;
  for (int k = 0; k < histories; ++k) step.history[k] = history[static_cast<std::size_t>(k)]->data();
  step.row = rows_device.data();
  const DeviceBuffer<float>& output = in_place ? sample : separate_output;
  const DeviceBuffer<float>& remembered = histories == 3 ? *history[2] : separate_remembered;
  step.prev_sample = output.data();
  step.remembered = remembered.data();
  step.count = count;

  ASSERT_EQ(guided_step(step, nullptr), cudaSuccess) << cuda_on_cpu::last_report().text();
  if (count > 0) {
    ASSERT_GT(cuda_on_cpu::last_report().checked_accesses, 0u);
  }
  if (!in_place) {
    ASSERT_EQ(separate_output.unwritten_bytes(), 0u);
  }
  if (histories < 3) {
    ASSERT_EQ(separate_remembered.unwritten_bytes(), 0u);
  }

  const auto prev_sample = output.host(), kept = remembered.host();
  for (std::size_t i = 0; i < n; ++i) {
    const auto pred = [&](int r) {
      return static_cast<double>(static_cast<float>(noise_pred_host[static_cast<std::size_t>(r) * n + i]));
    };
    double guided = pred(0);
    if (rows == 2) guided = pred(0) + double{kGuidanceScale} * (pred(1) - pred(0));
    if (rows == 3)
      guided =
          pred(2) + double{kGuidanceScale} * (pred(0) - pred(1)) + double{kImageGuidanceScale} * (pred(1) - pred(2));
    double expected = double{row.sample} * sample_host[i] + double{row.noise_pred} * guided;
    if (with_noise) expected += double{row.noise} * noise_host[i];
    for (int k = 0; k < histories; ++k)
      expected += double{row.history[k]} * history_host[static_cast<std::size_t>(k)][i];
    // A dozen float32 roundings of terms up to 30: 12 * 30 * 2^-24.
    ASSERT_NEAR(prev_sample[i], expected, 2.2e-5) << "element " << i;
    ASSERT_NEAR(kept[i], double{row.remember_sample} * sample_host[i] + double{row.remember_noise_pred} * guided,
                2.2e-5)
        << "element " << i;
  }
}

template <typename T>
void check_all_shapes() {
  for (const std::int64_t count : {0, 1, 3, 4, 5, 255, 1024, 1027, 4 * 16 * 16 * 3}) {
    for (const int rows : {1, 2, 3}) {
      check_guided_step<T>(rows, count, 0, false, false);
      check_guided_step<T>(rows, count, 3, true, true);
    }
  }
  for (int histories = 0; histories <= 3; ++histories)
    check_guided_step<T>(2, 100, histories, histories % 2 == 0, false);
}

TEST(GuidedStepKernel, Float32MatchesTheFormula) { check_all_shapes<float>(); }
TEST(GuidedStepKernel, Float16MatchesTheFormula) { check_all_shapes<__half>(); }
TEST(GuidedStepKernel, BFloat16MatchesTheFormula) { check_all_shapes<__nv_bfloat16>(); }

TEST(GuidedStepKernel, IsCleanInEveryOrder) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    cuda_on_cpu::options().seed = seed;
    check_guided_step<__half>(3, 2052, 3, true, true);
  }
  cuda_on_cpu::options() = {};
}

TEST(GuidedStepKernel, MoreWorkThanOnePassOfTheGridIsDone) {
  // 1024 blocks of 256 threads, four elements each, and a few more: the loop's second round.
  check_guided_step<__half>(2, std::int64_t{1024} * 256 * 4 + 8, 0, false, false);
}

TEST(GuidedStepKernel, RefusesFourRows) {
  GuidedStep step{};
  step.guidance_rows = 4;
  step.count = 4;
  EXPECT_EQ(guided_step(step, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace i2i::cuda
