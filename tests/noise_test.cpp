// Draws equal torch's in Python: torch.Generator().manual_seed(seed), torch.randn(shape, generator=...), in the order
// of diffusers' two forms. Expected values were printed by torch 2.11.0.
#include "interface/noise.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "interface/pipeline.h"

namespace i2i {
namespace {

/// Vector and scalar builds of torch differ in the last bits; another stream differs in the first.
constexpr double kLastBits = 1e-6;

double at_index(const at::Tensor& tensor, std::int64_t index) { return tensor.flatten()[index].item<double>(); }

class Recorder : public TraceSink {
 public:
  void tensor(std::string_view name, int step, const at::Tensor& value) override {
    EXPECT_EQ(step, -1);
    names.emplace_back(name);
    values.push_back(value);
  }
  std::vector<std::string> names;
  std::vector<at::Tensor> values;
};

TEST(Noise, EqualsTorchForLargeAndSmallShapes) {
  NoiseSource zero(0, 1, NoiseMode::kBatch);
  const at::Tensor first = zero.draw_posterior(4, 3, 5);
  EXPECT_EQ(first.sizes(), at::IntArrayRef({1, 4, 3, 5}));
  EXPECT_EQ(first.scalar_type(), at::kFloat);
  EXPECT_NEAR(at_index(first, 0), -1.1258398294448853, kLastBits);
  EXPECT_NEAR(at_index(first, 17), -1.6959311962127686, kLastBits);
  EXPECT_NEAR(at_index(first, 59), -0.4996815323829651, kLastBits);
  const at::Tensor second = zero.draw(4, 3, 5);
  EXPECT_NEAR(at_index(second, 0), -1.1256016492843628, kLastBits);
  EXPECT_NEAR(at_index(second, 59), 0.5255303382873535, kLastBits);
  const at::Tensor small = zero.draw(1, 2, 3);  // below 16 elements torch draws one by one
  EXPECT_NEAR(at_index(small, 0), 0.22395838797092438, kLastBits);
  EXPECT_NEAR(at_index(small, 5), 1.0197668075561523, kLastBits);
}

TEST(Noise, LargeSeedsEqualTorch) {
  NoiseSource noise((std::uint64_t{1} << 40) + 7, 1, NoiseMode::kPerImage);
  EXPECT_NEAR(at_index(noise.draw(4, 3, 5), 0), -0.8201345205307007, kLastBits);
}

TEST(Noise, BatchFormDrawsOnePosteriorAndThenTheWholeBatch) {
  NoiseSource noise(42, 3, NoiseMode::kBatch);
  EXPECT_EQ(noise.draw_posterior(4, 3, 5).sizes(), at::IntArrayRef({1, 4, 3, 5}));
  const at::Tensor start = noise.draw(4, 3, 5);
  EXPECT_EQ(start.sizes(), at::IntArrayRef({3, 4, 3, 5}));
  EXPECT_NEAR(at_index(start, 0), 0.19707036018371582, kLastBits);
  EXPECT_NEAR(at_index(start, 59), 0.44053012132644653, kLastBits);
  EXPECT_NEAR(at_index(start, 60), 1.1415079832077026, kLastBits);
  EXPECT_NEAR(at_index(start, 179), 0.01789604313671589, kLastBits);
}

TEST(Noise, ImageOfABatchIsTheFirstImageOfALaterSeed) {
  NoiseSource batch(39, 8, NoiseMode::kPerImage);
  NoiseSource single(42, 1, NoiseMode::kPerImage);
  for (int draw = 0; draw < 3; ++draw) {
    const at::Tensor all = draw == 0 ? batch.draw_posterior(4, 3, 5) : batch.draw(4, 3, 5);
    const at::Tensor one = draw == 0 ? single.draw_posterior(4, 3, 5) : single.draw(4, 3, 5);
    EXPECT_EQ(all.sizes(), at::IntArrayRef({8, 4, 3, 5}));
    EXPECT_TRUE(all[3].equal(one[0])) << "draw " << draw;
    EXPECT_FALSE(all[2].equal(one[0]));
  }
}

TEST(Noise, EveryDrawIsTracedInOrder) {
  Recorder recorder;
  NoiseSource noise(1, 2, NoiseMode::kPerImage, &recorder);
  const at::Tensor first = noise.draw_posterior(4, 2, 2);
  const at::Tensor second = noise.draw(4, 2, 2);
  EXPECT_EQ(recorder.names, (std::vector<std::string>{"draw.00", "draw.01"}));
  EXPECT_TRUE(recorder.values.at(0).equal(first));
  EXPECT_TRUE(recorder.values.at(1).equal(second));
}

TEST(ToImage, RoundsHalvesToEvenAndKeepsRows) {
  const at::Tensor pixels = at::tensor({0.0f, 1.0f, 0.5f / 255, 1.5f / 255, 2.5f / 255, 254.4f / 255}).view({2, 1, 3});
  const Image image = to_image(pixels);
  EXPECT_EQ(image.width, 1);
  EXPECT_EQ(image.height, 2);
  EXPECT_EQ(image.rgb, (std::vector<std::uint8_t>{0, 255, 0, 2, 2, 254}));
  EXPECT_EQ(to_image(at::zeros({4, 7, 3})).width, 7);
}

}  // namespace
}  // namespace i2i
