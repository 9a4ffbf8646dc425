// Promise: resize_lanczos gives Pillow's bytes, in the pass order of Pillow 13.0 and in that of 12.3 and older.
// Goldens: datasets/goldens/make_lanczos_goldens.py.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>

#include "interface/source_image.h"

namespace i2i {
namespace {

std::uint32_t crc32(const std::vector<std::uint8_t>& bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
  }
  return ~crc;
}

/// The pictures of make_lanczos_goldens.py, from the same generator.
Image picture(int width, int height, std::uint64_t seed, const std::string& kind) {
  Image image{width, height, std::vector<std::uint8_t>(std::size_t{3} * static_cast<std::size_t>(width * height))};
  for (std::uint8_t& sample : image.rgb) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const auto byte = static_cast<std::uint8_t>(seed >> 56);
    sample = kind == "noise" ? byte : static_cast<std::uint8_t>(255 * (byte >> 7));
  }
  return image;
}

TEST(Lanczos, MatchesPillowByteForByteInBothPassOrders) {
  std::ifstream file(I2I_SOURCE_DIR "/datasets/goldens/lanczos.json");
  const nlohmann::json rows = nlohmann::json::parse(file);
  ASSERT_GE(rows.size(), 500u);
  int order_matters = 0;
  for (const auto& row : rows) {
    SCOPED_TRACE(row.dump());
    const Image source = picture(row["from"][0], row["from"][1], row["seed"], row["kind"]);
    const int width = row["to"][0], height = row["to"][1];
    const Image pillow13 = resize_lanczos(source, width, height);
    EXPECT_EQ(pillow13.width, width);
    EXPECT_EQ(pillow13.height, height);
    EXPECT_EQ(crc32(pillow13.rgb), row["pillow13"]);
    EXPECT_EQ(crc32(resize_lanczos(source, width, height, PillowOrder::kPillow12).rgb), row["pillow12"]);
    order_matters += row["pillow13"] != row["pillow12"] ? 1 : 0;
  }
  EXPECT_GE(order_matters, 10);
}

TEST(Lanczos, TheSameSizeIsAnUntouchedCopy) {
  const Image source = picture(31, 17, 3, "noise");
  EXPECT_EQ(resize_lanczos(source, 31, 17), source);
}

TEST(Lanczos, OverflowsNowhereOnTheHardestInput) {
  // White where the windows' weights are positive and black where they are negative gives the largest sums.
  for (const int to : {1, 2, 3, 5, 7, 11, 13, 19, 21, 27, 28, 39, 41}) {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      EXPECT_EQ(resize_lanczos(picture(20, 20, seed, "edges"), to, to).rgb.size(),
                static_cast<std::size_t>(3 * to * to));
    }
  }
}

TEST(Lanczos, ASizeOfZeroIsRefused) {
  EXPECT_THROW(resize_lanczos(picture(4, 4, 1, "noise"), 0, 4), Error);
  EXPECT_THROW(resize_lanczos(picture(4, 4, 1, "noise"), 4, -1), Error);
}

}  // namespace
}  // namespace i2i
