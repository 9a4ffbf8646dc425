// Promise: guidance and the scheduler's step, executed on the CPU in many orders, are as good as their formula in fp32,
// for one, two and three rows of noise_pred in either layout, any history, noise, in place, and with guidance rescaled
// image by image. The verdict is "emulated".
#include "optimized/ops/cuda/guided_step.h"

#include <memory>

#include "tests/cuda_on_cpu/kernel_check.h"

namespace i2i::cuda {
namespace {

constexpr float kScale = 7.5f, kImageScale = 1.5f;

struct Case {
  int rows;
  std::size_t images, channels, pixels;
  std::size_t histories = 2;
  bool noise = true;
  bool channels_last = false;
  float rescale = 0;
  bool in_place = false;  // prev_sample over sample, remembered over the oldest history
  std::size_t count() const { return images * channels * pixels; }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.rows << " rows, " << c.images << " images of " << c.channels << " x " << c.pixels << ", "
             << c.histories << " histories, noise " << c.noise << ", channels-last " << c.channels_last << ", rescale "
             << c.rescale << ", in place " << c.in_place;
}

GuidedStepRow row_of(const Case& c) {
  const auto history = [&](std::size_t k, float value) { return k < c.histories ? value : 0.0f; };
  return {
      0.9f,   -0.3f,      c.noise ? 0.2f : 0.0f, {history(0, 0.4f), history(1, -0.2f), history(2, 0.1f)}, 1.1f, -0.7f,
      kScale, kImageScale};
}

struct Inputs {
  std::vector<float> noise_pred, sample, noise;
  std::vector<std::vector<float>> history;
};

template <typename Real>
struct Outputs {
  std::vector<Real> prev_sample, remembered, guided;
};

/// Everything NCHW, as diffusers has it; guidance rescale as its rescale_noise_cfg.
template <typename Real>
Outputs<Real> formula(const Case& c, const Inputs& in) {
  const std::size_t elements = c.channels * c.pixels, count = c.count();
  const Real scale = kScale, image_scale = kImageScale, rescale = c.rescale;
  const GuidedStepRow row = row_of(c);
  Outputs<Real> out{std::vector<Real>(count), std::vector<Real>(count), std::vector<Real>(count)};
  const auto pred = [&](std::size_t r, std::size_t i) { return static_cast<Real>(in.noise_pred[r * count + i]); };
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
    out.prev_sample[i] = Real{row.sample} * static_cast<Real>(in.sample[i]) + Real{row.noise_pred} * out.guided[i] +
                         Real{row.noise} * static_cast<Real>(in.noise[i]);
    for (std::size_t k = 0; k < c.histories; ++k)
      out.prev_sample[i] += Real{row.history[k]} * static_cast<Real>(in.history[k][i]);
    out.remembered[i] =
        Real{row.remember_sample} * static_cast<Real>(in.sample[i]) + Real{row.remember_noise_pred} * out.guided[i];
  }
  return out;
}

template <typename T>
Inputs draw(const Case& c, std::mt19937& random) {
  Inputs in;
  in.noise_pred = as<float>(random_elements<T>(static_cast<std::size_t>(c.rows) * c.count(), random, 0.2f, 1.3f));
  in.sample = random_elements<float>(c.count(), random);
  in.noise = random_elements<float>(c.count(), random);
  for (std::size_t k = 0; k < c.histories; ++k) in.history.push_back(random_elements<float>(c.count(), random));
  return in;
}

/// noise_pred as it lies in memory.
template <typename T>
std::vector<T> laid_out(const Case& c, const std::vector<float>& noise_pred) {
  const std::size_t elements = c.channels * c.pixels;
  std::vector<T> lies;
  for (std::size_t i = 0; i < noise_pred.size(); ++i) {
    const std::size_t image = i / elements, pixel = i % elements / c.channels, channel = i % c.channels;
    lies.push_back(T(noise_pred[c.channels_last ? (image * c.channels + channel) * c.pixels + pixel : i]));
  }
  return lies;
}

template <typename T>
void run(const Case& c, const Inputs& in, Outputs<float>& out) {
  const std::size_t count = c.count();
  const DeviceBuffer<T> noise_pred(laid_out<T>(c, in.noise_pred), "noise_pred");
  const DeviceBuffer<float> sample(in.sample, "sample", !c.in_place), noise(in.noise, "noise");
  const DeviceBuffer<GuidedStepRow> row(std::vector<GuidedStepRow>{row_of(c)}, "row");
  std::vector<std::unique_ptr<DeviceBuffer<float>>> history;
  for (const auto& values : in.history) {
    const bool oldest = history.size() + 1 == c.histories;
    history.push_back(std::make_unique<DeviceBuffer<float>>(values, "history", !(c.in_place && oldest)));
  }
  const bool remembers_in_place = c.in_place && c.histories > 0, rescaled = c.rescale > 0 && c.rows > 1;
  const DeviceBuffer<float> separate(c.in_place ? 0 : count, "prev_sample"),
      separately_remembered(remembers_in_place ? 0 : count, "remembered"), guided(count, "guided"),
      factor(rescaled ? c.images : 0, "factor");
  const DeviceBuffer<float>& prev_sample = c.in_place ? sample : separate;
  const DeviceBuffer<float>& remembered = remembers_in_place ? *history.back() : separately_remembered;
  GuidedStep step{};
  step.noise_pred = noise_pred.data();
  step.noise_pred_type = element_type<T>();
  step.guidance_rows = c.rows;
  step.sample = sample.data();
  step.noise = c.noise ? noise.data() : nullptr;
  for (std::size_t k = 0; k < c.histories; ++k) step.history[k] = history[k]->data();
  step.row = row.data();
  step.prev_sample = prev_sample.data();
  step.remembered = remembered.data();
  step.count = static_cast<std::int64_t>(count);
  step.guided = guided.data();
  step.channels = c.channels_last ? static_cast<int>(c.channels) : 0;
  step.pixels = c.channels_last ? static_cast<std::int64_t>(c.pixels) : 0;
  step.guidance_rescale = c.rescale;
  step.rescale_factor = rescaled ? factor.data() : nullptr;
  step.images = static_cast<int>(c.images);
  ASSERT_NO_FATAL_FAILURE(expect_clean_launch(guided_step(step, nullptr), prev_sample, remembered, guided, factor));
  const auto append = [](std::vector<float>& to, const std::vector<float>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(out.prev_sample, prev_sample.host());
  append(out.remembered, remembered.host());
  append(out.guided, guided.host());
}

/// What fp32 is wrong by is taken over so many elements: of a handful it may by luck round none, and a GPU's compiler
/// fuses other multiplications and additions than the CPU's. Root mean squares want as many from the kernel: some.
constexpr std::size_t kJudgedElements = 2048, kEnoughForTheMean = 250;

/// @param rounds  inputs that the kernel is run on, at least
template <typename T>
void check(const Case& c, std::uint64_t seed, std::size_t rounds = 1) {
  SCOPED_TRACE(testing::Message() << type_name<T>() << ", " << c);
  std::mt19937 random(static_cast<unsigned>(seed));
  Outputs<float> got, once;
  Outputs<double> truth;
  const std::size_t judged = std::max(rounds, kJudgedElements / c.count());
  for (std::size_t round = 0; round < judged; ++round) {
    const Inputs in = draw<T>(c, random);
    if (round < rounds) {
      ASSERT_NO_FATAL_FAILURE(run<T>(c, in, got));
    }
    const Outputs<float> in_float = formula<float>(c, in);
    const Outputs<double> in_double = formula<double>(c, in);
    for (const auto part : {&Outputs<float>::prev_sample, &Outputs<float>::remembered, &Outputs<float>::guided})
      (once.*part).insert((once.*part).end(), (in_float.*part).begin(), (in_float.*part).end());
    for (const auto part : {&Outputs<double>::prev_sample, &Outputs<double>::remembered, &Outputs<double>::guided})
      (truth.*part).insert((truth.*part).end(), (in_double.*part).begin(), (in_double.*part).end());
  }
  const auto expect = [&](const std::vector<float>& kernel, const std::vector<double>& of_truth,
                          const std::vector<float>& of_once) {
    ASSERT_EQ(kernel.size(), rounds * c.count());
    const std::vector<double> run(of_truth.begin(), of_truth.begin() + static_cast<std::ptrdiff_t>(kernel.size()));
    const Errors of_kernel = errors_of(kernel, run);
    EXPECT_LE(of_kernel.largest, kTimesFloat32 * errors_of(of_once, of_truth).largest);
    if (kernel.size() >= kEnoughForTheMean) {
      EXPECT_LE(of_kernel.rms, kTimesFloat32 * errors_of(of_once, run).rms);  // of the same elements
    }
  };
  expect(got.prev_sample, truth.prev_sample, once.prev_sample);
  expect(got.remembered, truth.remembered, once.remembered);
  expect(got.guided, truth.guided, once.guided);
}

template <typename T>
void check_all_shapes(std::uint64_t seed) {
  for (const int rows : {1, 2, 3}) {
    for (const std::size_t count : {1, 3, 4, 5, 255, 1024, 1027}) {
      const std::size_t rounds = count < 16 ? 16 : 1;
      check<T>({rows, 1, 1, count, 0, false}, seed, rounds);
      check<T>({rows, 1, 1, count, 3, true, false, 0, true}, seed, rounds);
    }
    for (const bool channels_last : {false, true}) {
      check<T>({rows, 2, 4, 64, 2, true, channels_last}, seed);
      check<T>({rows, 2, 4, 35, 2, true, channels_last, 0.7f}, seed);  // planes that are no vectors
      check<T>({rows, 3, 4, 144, 2, true, channels_last, 0.7f}, seed);
      check<T>({rows, 8, 3, 15, 1, false, channels_last, 1}, seed);  // nor images: the second begins between vectors
    }
  }
}

TEST(GuidedStepKernel, Float32IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<float>); }
TEST(GuidedStepKernel, Float16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__half>); }
TEST(GuidedStepKernel, BFloat16IsAsGoodAsTheFormula) { in_random_orders(check_all_shapes<__nv_bfloat16>); }

TEST(GuidedStepKernel, IsCleanInTwentySeeds) {
  in_twenty_orders([] {
    check<__half>({3, 1, 1, 2052, 3, true, false, 0, true}, 1);
    check<__half>({2, 2, 4, 80, 2, true, true, 0.7f}, 1);
  });
}

TEST(GuidedStepKernel, MoreWorkThanOnePassOfTheGridIsDone) {
  // 1024 blocks of 256 threads, four elements each, and a few more: the loop's second round.
  check<__half>({2, 1, 1, std::size_t{1024} * 256 * 4 + 8, 0, false}, 1);
}

TEST(GuidedStepKernel, MovesWholeSectors) {
  if (!cuda_on_cpu::checks().traffic) GTEST_SKIP() << kNoTraffic;
  constexpr std::size_t kCount = 4096;
  const auto traffic = traffic_of([] { check<__half>({2, 1, 4, kCount / 4, 2, true}, 1); });
  // Two rows of halves; sample, noise, two histories; three outputs; and each warp reads the two sectors of the step's
  // coefficients.
  constexpr std::size_t kWarps = kCount / (32 * 4), kOfRow = (sizeof(GuidedStepRow) + 31) / 32;
  EXPECT_EQ(traffic.global_sectors, kCount * (2 * sizeof(__half) + 7 * sizeof(float)) / 32 + kWarps * kOfRow)
      << traffic.text();
}

TEST(GuidedStepKernel, RefusesWhatDoesNotFit) {
  GuidedStep step{};
  step.guidance_rows = 2;
  step.count = 0;
  EXPECT_EQ(guided_step(step, nullptr), cudaSuccess) << "nothing is to be done";
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
  step.channels = 0;
  step.guidance_rows = 4;
  EXPECT_EQ(guided_step(step, nullptr), cudaErrorInvalidValue) << "four rows";
}

}  // namespace
}  // namespace i2i::cuda
