// Promise: SSIM, PSNR and LPIPS are the numbers that scikit-image, torchmetrics and the lpips package give.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/metrics/metric.h"
#include "interface/error.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

using nlohmann::json;

at::Tensor to_tensor(const Image& image) {
  return at::from_blob(const_cast<std::uint8_t*>(image.rgb.data()), {image.height, image.width, 3}, at::kByte)
             .to(at::kFloat) /
         255;
}

Image crop(const Image& image, int left, int top, int width, int height) {
  Image result{width, height, {}};
  for (int y = top; y < top + height; ++y) {
    const auto row = image.rgb.begin() + (static_cast<std::ptrdiff_t>(y) * image.width + left) * 3;
    result.rgb.insert(result.rgb.end(), row, row + static_cast<std::ptrdiff_t>(width) * 3);
  }
  return result;
}

// The two changes of datasets/goldens/make_metric_goldens.py.
Image change(const Image& image, const std::string& kind) {
  Image result = image;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto at = [&](int column) { return (static_cast<std::size_t>(y) * image.width + column) * 3 + c; };
        if (kind == "shift") {
          result.rgb[at(x)] = image.rgb[at(std::max(0, x - 2))];
        } else {
          const int value = image.rgb[at(x)] + (7 * x + 13 * y + 5 * c) % 31 - 15;
          result.rgb[at(x)] = static_cast<std::uint8_t>(std::clamp(value, 0, 255));
        }
      }
    }
  }
  return result;
}

at::Tensor photograph() {
  return to_tensor(crop(load_source_image(I2I_DEPS "/photographs/chelsea.png"), 60, 40, 128, 96));
}

TEST(Metrics, EqualThePublishedImplementationsOnPhotographs) {
  const json rows = json::parse(std::ifstream(I2I_SOURCE_DIR "/datasets/goldens/metrics.json"));
  ASSERT_EQ(rows.size(), 6u);
  for (const json& row : rows) {
    SCOPED_TRACE(row.dump());
    const auto box = row["crop"].get<std::vector<int>>();
    const Image image = crop(load_source_image(I2I_DEPS "/photographs/" + row["photograph"].get<std::string>()), box[0],
                             box[1], box[2], box[3]);
    const at::Tensor a = to_tensor(image), b = to_tensor(change(image, row["change"]));
    EXPECT_NEAR(ssim(a, b), row["ssim"].get<double>(), 1e-5);
    EXPECT_NEAR(ssim_padded(a, b), row["ssim_torchmetrics"].get<double>(), 1e-5);
    EXPECT_NEAR(psnr(a, b), row["psnr"].get<double>(), 1e-4);
    EXPECT_NEAR(lpips_alex(a, b), row["lpips"].get<double>(), 1e-5);
    EXPECT_NEAR(lpips_vgg(a, b), row["lpips_vgg"].get<double>(), 1e-5);
  }
}

TEST(Metrics, IdenticalPicturesAreIdentical) {
  const at::Tensor a = photograph();
  EXPECT_NEAR(ssim(a, a), 1.0, 1e-12);
  EXPECT_EQ(lpips_alex(a, a), 0.0);
  EXPECT_TRUE(std::isinf(psnr(a, a)));
}

TEST(Metrics, AreSymmetricAndInRange) {
  const at::Tensor a = photograph(), b = (a * 0.5 + 0.2).contiguous();
  for (const Metric& metric : all_metrics()) {
    SCOPED_TRACE(metric.name);
    EXPECT_NEAR(metric.measure(a, b), metric.measure(b, a), 1e-6);
    EXPECT_GE(metric.measure(a, b), 0.0);
    // A worse picture scores worse: more noise, less similarity.
    const at::Tensor worse =
        (b + 0.2 * at::sin(at::arange(a.numel()).to(at::kFloat) * 1.7).view(a.sizes())).clamp(0, 1);
    EXPECT_EQ(metric.measure(a, worse) < metric.measure(a, b), metric.higher_is_better);
  }
}

TEST(Metrics, RefusePicturesThatCannotBeCompared) {
  const at::Tensor a = photograph();
  EXPECT_THROW(ssim(a, a.narrow(0, 0, 50)), Error);
  EXPECT_THROW(ssim(a.narrow(0, 0, 10), a.narrow(0, 0, 10)), Error);
  EXPECT_THROW(lpips_alex(a.narrow(1, 0, 31), a.narrow(1, 0, 31)), Error);
  EXPECT_THROW(psnr(a, a.narrow(0, 0, 50)), Error);
  EXPECT_THROW(metric_by_name("smim"), Error);
}

}  // namespace
}  // namespace i2i
