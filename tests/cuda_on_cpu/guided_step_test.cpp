// Promise: what guided_step does beyond cuda_kernels_test.cpp: noise_pred as the UNet leaves it (channels-last), the
// guided noise_pred as an output, and guidance rescaled image by image. The verdict is "emulated": no GPU has run it.
#include "optimized/ops/cuda/guided_step.h"

#include "tests/cuda_on_cpu/rows_testing.h"

namespace i2i::cuda {
namespace {

struct Case {
  int rows;
  std::size_t images, channels, pixels;
  bool channels_last;
  float rescale;
};
constexpr GuidedStepRow kRow{0.9f, -0.3f, 0.2f, {0.4f, -0.2f, 0}, 1.1f, -0.7f};

template <typename Real>
struct Outputs {
  std::vector<Real> prev_sample, remembered, guided;
};

/// Everything NCHW, as diffusers has it; guidance rescale as its rescale_noise_cfg.
template <typename Real>
Outputs<Real> formula(const Case& c, const std::vector<Real>& noise_pred, const std::vector<Real>& sample,
                      const std::vector<Real>& noise, const std::vector<Real>& history) {
  const std::size_t elements = c.channels * c.pixels, count = c.images * elements;
  const Real scale = 7.5f, image_scale = 1.5f, rescale = c.rescale;
  Outputs<Real> out{std::vector<Real>(count), std::vector<Real>(count), std::vector<Real>(count)};
  const auto pred = [&](std::size_t row, std::size_t i) { return noise_pred[row * count + i]; };
  for (std::size_t i = 0; i < count; ++i) {
    Real guided = pred(0, i);
    if (c.rows == 2) guided += scale * (pred(1, i) - pred(0, i));
    if (c.rows == 3) guided = pred(2, i) + scale * (pred(0, i) - pred(1, i)) + image_scale * (pred(1, i) - pred(2, i));
    out.guided[i] = guided;
  }
  for (std::size_t image = 0; image < c.images && c.rows > 1 && c.rescale > 0; ++image) {
    const auto deviation = [&](const auto& value) {
      Real mean = 0, squares = 0;
      for (std::size_t i = 0; i < elements; ++i) mean += value(image * elements + i);
      mean /= static_cast<Real>(elements);
      for (std::size_t i = 0; i < elements; ++i)
        squares += (value(image * elements + i) - mean) * (value(image * elements + i) - mean);
      return std::sqrt(squares / static_cast<Real>(elements - 1));
    };
    const Real of_text = deviation([&](std::size_t i) { return pred(c.rows == 2 ? 1 : 0, i); });
    const Real of_guided = deviation([&](std::size_t i) { return out.guided[i]; });
    for (std::size_t i = image * elements; i < (image + 1) * elements; ++i)
      out.guided[i] = rescale * (out.guided[i] * (of_text / of_guided)) + (1 - rescale) * out.guided[i];
  }
  for (std::size_t i = 0; i < count; ++i) {
    out.prev_sample[i] = Real{kRow.sample} * sample[i] + Real{kRow.noise_pred} * out.guided[i] +
                         Real{kRow.noise} * noise[i] + Real{kRow.history[0]} * history[i] +
                         Real{kRow.history[1]} * history[count + i];
    out.remembered[i] = Real{kRow.remember_sample} * sample[i] + Real{kRow.remember_noise_pred} * out.guided[i];
  }
  return out;
}

template <typename T>
void check(const Case& c, std::uint64_t seed) {
  SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.images << " images of " << c.channels << " x " << c.pixels
                                  << ", channels-last " << c.channels_last << ", rescale " << c.rescale);
  std::mt19937 random(static_cast<unsigned>(seed));
  const std::size_t elements = c.channels * c.pixels, count = c.images * elements;
  const auto rows = static_cast<std::size_t>(c.rows);
  const auto noise_pred = random_elements<T>(rows * count, random, 0.2f, 1.3f);
  const auto sample = random_elements<float>(count, random), noise = random_elements<float>(count, random),
             history = random_elements<float>(2 * count, random);
  std::vector<T> as_it_lies = noise_pred;
  if (c.channels_last) {
    for (std::size_t i = 0; i < as_it_lies.size(); ++i) {
      const std::size_t image = i / elements, pixel = i % elements / c.channels, channel = i % c.channels;
      as_it_lies[i] = noise_pred[(image * c.channels + channel) * c.pixels + pixel];
    }
  }
  const DeviceBuffer<T> noise_pred_device(as_it_lies, "noise_pred");
  const DeviceBuffer<float> sample_device(sample, "sample"), noise_device(noise, "noise");
  const DeviceBuffer<float> newest(std::vector<float>(history.begin(), history.begin() + static_cast<long>(count)),
                                   "h0");
  const DeviceBuffer<float> older(std::vector<float>(history.begin() + static_cast<long>(count), history.end()), "h1");
  const DeviceBuffer<GuidedStepRow> row_device(std::vector<GuidedStepRow>{kRow}, "row");
  const bool rescaled = c.rescale > 0 && c.rows > 1;
  const DeviceBuffer<float> prev_sample(count, "prev_sample"), remembered(count, "remembered"), guided(count, "guided"),
      factor(rescaled ? c.images : 0, "factor");
  GuidedStep step{};
  step.noise_pred = noise_pred_device.data();
  step.noise_pred_type = element_type<T>();
  step.guidance_rows = c.rows;
  step.guidance_scale = 7.5f;
  step.image_guidance_scale = 1.5f;
  step.sample = sample_device.data();
  step.noise = noise_device.data();
  step.history[0] = newest.data();
  step.history[1] = older.data();
  step.row = row_device.data();
  step.prev_sample = prev_sample.data();
  step.remembered = remembered.data();
  step.count = static_cast<std::int64_t>(count);
  step.guided = guided.data();
  step.channels = c.channels_last ? static_cast<int>(c.channels) : 0;
  step.pixels = c.channels_last ? static_cast<std::int64_t>(c.pixels) : 0;
  step.guidance_rescale = c.rescale;
  step.rescale_factor = rescaled ? factor.data() : nullptr;
  step.images = static_cast<int>(c.images);

  ASSERT_EQ(guided_step(step, nullptr), cudaSuccess) << cuda_on_cpu::last_report().text();
  expect_clean_launch();
  for (const auto* output : {&prev_sample, &remembered, &guided, &factor}) ASSERT_EQ(output->unwritten_bytes(), 0u);
  const auto truth =
      formula<double>(c, as<double>(noise_pred), as<double>(sample), as<double>(noise), as<double>(history));
  const auto once = formula<float>(c, as<float>(noise_pred), sample, noise, history);
  expect_as_good_as_float(prev_sample.host(), truth.prev_sample, once.prev_sample);
  expect_as_good_as_float(remembered.host(), truth.remembered, once.remembered);
  expect_as_good_as_float(guided.host(), truth.guided, once.guided);
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  for (const int rows : {1, 2, 3}) {
    for (const bool channels_last : {false, true}) {
      check<T>({rows, 2, 4, 64, channels_last, 0}, seed);
      check<T>({rows, 2, 4, 35, channels_last, 0.7f}, seed);  // planes that are no vectors
      check<T>({rows, 3, 4, 144, channels_last, 0.7f}, seed);
      check<T>({rows, 8, 3, 15, channels_last, 1},
               seed);  // images that are none: the second one begins between vectors
    }
  }
}

TEST(GuidedStepKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(GuidedStepKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(GuidedStepKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(GuidedStepKernel, RefusesWhatDoesNotFit) {
  GuidedStep step{};
  step.guidance_rows = 2;
  step.count = 96;
  step.guidance_rescale = 0.5f;
  EXPECT_EQ(guided_step(step, nullptr), cudaErrorInvalidValue) << "no workspace";
  step.guidance_rescale = 0;
  step.images = 5;
  EXPECT_EQ(guided_step(step, nullptr), cudaErrorInvalidValue) << "96 elements are no five images";
  step.images = 1;
  step.channels = 4;
  step.pixels = 23;
  EXPECT_EQ(guided_step(step, nullptr), cudaErrorInvalidValue) << "96 elements are not 4 x 23";
}

}  // namespace
}  // namespace i2i::cuda
