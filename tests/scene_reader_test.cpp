// Promise: the C++ reader sees in a picture of the world what the Python reader sees, clean or spoilt.
#include "harness/scene_reader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "interface/error.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

constexpr int kSide = 64;

TEST(SceneReader, ReadsWhatThePythonReaderReads) {
  const Image sheet = load_source_image(I2I_SOURCE_DIR "/tests/goldens/scene_readings.png");
  const auto expected = nlohmann::json::parse(std::ifstream(I2I_SOURCE_DIR "/tests/goldens/scene_readings.json"));
  const SceneReader reader(load_world());
  ASSERT_EQ(sheet.height, kSide * static_cast<int>(expected.size()));
  std::size_t shapes = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "picture " << i);
    constexpr std::ptrdiff_t kBytes = kSide * kSide * 3;
    const auto first = sheet.rgb.begin() + static_cast<std::ptrdiff_t>(i) * kBytes;
    const SceneReading reading = reader.read(Image{kSide, kSide, {first, first + kBytes}});
    EXPECT_EQ(reading.ground, expected[i]["ground"].get<std::string>());
    EXPECT_EQ(reading.pattern, expected[i]["pattern"].get<std::string>());
    EXPECT_EQ(std::accumulate(reading.mask.begin(), reading.mask.end(), 0), expected[i]["mask_pixels"]);
    ASSERT_EQ(reading.shapes.size(), expected[i]["shapes"].size());
    for (std::size_t s = 0; s < reading.shapes.size(); ++s) {
      const auto words = expected[i]["shapes"][s].get<std::vector<std::string>>();
      EXPECT_EQ(reading.shapes[s], (SceneShape{words[0], words[1], words[2], words[3], words[4]}));
    }
    shapes += reading.shapes.size();
  }
  EXPECT_GT(shapes, 60u);
}

TEST(SceneReader, RefusesAPictureOfAnotherSize) {
  EXPECT_THROW(SceneReader(load_world()).read(Image{32, 64, std::vector<std::uint8_t>(32 * 64 * 3)}), Error);
}

TEST(SceneReader, MaskOverlap) {
  EXPECT_EQ(mask_iou({1, 1, 0, 0}, {0, 1, 1, 0}), 1.0 / 3);
  EXPECT_EQ(mask_iou({0, 0}, {0, 0}), 1.0);
  EXPECT_EQ(mask_iou({1, 0}, {0, 1}), 0.0);
}

}  // namespace
}  // namespace i2i
