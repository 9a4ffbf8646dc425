// Promise: a source picture of every supported kind decodes to the right RGB8, and every other file is refused as a
// source_image_error, fast and without a crash. Goldens: datasets/goldens/make_source_image_goldens.py.
#include "interface/source_image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "interface/fetch.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

using Bytes = std::vector<std::uint8_t>;
using nlohmann::json;

const json& goldens() {
  static const json cases = [] {
    std::ifstream file(I2I_SOURCE_DIR "/datasets/goldens/source_images.json");
    return json::parse(file);
  }();
  return cases;
}

Bytes golden_file(const std::string& name) { return decode_base64(goldens().at(name).at("file").get<std::string>()); }

/// The words of the refusal; a failure of the test where the address is accepted or another code is thrown.
std::string refusal(const std::string& address, const SourceLimits& limits = {}) {
  try {
    load_source_image(address, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kSourceImageError) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << address.substr(0, 200);
  return {};
}

std::string refusal(const Bytes& file, const SourceLimits& limits = {}) {
  try {
    decode_image(file, "test", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kSourceImageError) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted " << file.size() << " bytes";
  return {};
}

#define EXPECT_SAYS(words, text) EXPECT_NE(std::string(text).find(words), std::string::npos) << (text)

Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::uint32_t crc32(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
  }
  return ~crc;
}

std::string png_chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<std::uint32_t>(data.size())) + type + data + big_endian(crc32(type + data));
}

/// A whole PNG file with right checksums whose pixels are `data` (not a valid zlib stream unless it is one).
Bytes png(std::uint32_t width, std::uint32_t height, const std::string& data) {
  return bytes_of("\x89PNG\r\n\x1A\n" +
                  png_chunk("IHDR", big_endian(width) + big_endian(height) + std::string("\x08\x02\0\0\0", 5)) +
                  png_chunk("IDAT", data) + png_chunk("IEND", ""));
}

TEST(SourceImage, EveryKindOfPictureDecodesToItsGolden) {
  ASSERT_GE(goldens().size(), 70u);
  for (const auto& [name, golden] : goldens().items()) {
    SCOPED_TRACE(name);
    const Image image = decode_image(golden_file(name), name);
    const Bytes expected = decode_base64(golden["rgb"].get<std::string>());
    EXPECT_EQ(image.width, golden["width"]);
    EXPECT_EQ(image.height, golden["height"]);
    ASSERT_EQ(image.rgb.size(), expected.size());
    int largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) largest = std::max(largest, std::abs(image.rgb[i] - expected[i]));
    EXPECT_LE(largest, golden["tolerance"].get<int>());
  }
}

TEST(SourceImage, TheSamePictureComesByPathFileAndDataAddress) {
  const ScratchFolder scratch;
  const std::filesystem::path folder = scratch / "source test";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "a picture.png").string();
  const Image expected = decode_image(golden_file("rgb.PNG"), "rgb");
  write_png(expected, path);
  EXPECT_EQ(load_source_image(path), expected);
  std::string escaped = path;
  for (std::size_t at; (at = escaped.find(' ')) != std::string::npos;) escaped.replace(at, 1, "%20");
  EXPECT_EQ(load_source_image("file://" + escaped), expected);
  EXPECT_EQ(load_source_image("FILE://localhost" + escaped), expected);

  const std::string base64 = goldens().at("rgb.PNG").at("file").get<std::string>();
  EXPECT_EQ(load_source_image("data:image/png;base64," + base64), expected);
  EXPECT_EQ(load_source_image("DATA:;BASE64," + base64), expected);
  EXPECT_EQ(load_source_image("data:text/plain;charset=utf-8;base64," + base64), expected);
  std::string percent = "data:,";
  for (const std::uint8_t byte : golden_file("rgb.PNG")) {
    percent += {'%', "0123456789abcdef"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
  }
  EXPECT_EQ(load_source_image(percent), expected);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "a temporary file was left";
}

TEST(SourceImage, AddressesThatLeadNowhereAreRefused) {
  const ScratchFolder scratch;
  const std::string folder = scratch.path().string();
  ASSERT_EQ(::mkfifo((folder + "/pipe").c_str(), 0600), 0);
  EXPECT_SAYS("No such file", refusal("/nonexistent/picture.png"));
  EXPECT_SAYS("/nonexistent/picture.png", refusal("/nonexistent/picture.png"));
  EXPECT_SAYS("is a folder", refusal(folder));
  EXPECT_SAYS("not a regular file", refusal(folder + "/pipe"));
  EXPECT_SAYS("not a regular file", refusal("/dev/zero"));
  EXPECT_SAYS("zero byte", refusal(std::string("a\0.png", 6)));
  EXPECT_SAYS("No such file", refusal("file:///nonexistent.png"));
  EXPECT_SAYS("another machine", refusal("file://server/share/a.png"));
  EXPECT_SAYS("hexadecimal", refusal("file:///a%2"));
  EXPECT_SAYS("hexadecimal", refusal("file:///a%zz.png"));
  EXPECT_SAYS("only paths", refusal("ftp://example.org/a.png"));
  EXPECT_SAYS("only paths", refusal("gopher://127.0.0.1/"));
  EXPECT_SAYS("no comma", refusal("data:image/png;base64"));
  EXPECT_SAYS("not base64", refusal("data:image/png;base64,iVBO*w0K"));
  EXPECT_SAYS("not base64", refusal("data:image/png;base64,iV=BO"));
  EXPECT_SAYS("incomplete", refusal("data:image/png;base64,iVBOR"));
  EXPECT_SAYS("empty", refusal("data:,"));
  EXPECT_SAYS("empty", refusal("data:image/png;base64,"));
  EXPECT_SAYS("not a picture", refusal("data:,hello"));
  EXPECT_LT(refusal("data:," + std::string(1'000'000, 'x')).size(), 400u);
}

TEST(SourceImage, BytesAndPixelsAreBounded) {
  const ScratchFolder scratch;
  const std::string path = (scratch / "bounds.png").string();
  write_png(decode_image(golden_file("rgb.PNG"), "rgb"), path);
  const std::size_t size = std::filesystem::file_size(path);
  EXPECT_NO_THROW(load_source_image(path, {.max_bytes = size, .max_pixels = 21 * 13}));
  EXPECT_SAYS("larger than the", refusal(path, {.max_bytes = size - 1}));
  EXPECT_SAYS("21 x 13 pixels are more than the 272 allowed", refusal(path, {.max_pixels = 21 * 13 - 1}));
  EXPECT_SAYS("larger than the 3 allowed", refusal("data:,abcd", {.max_bytes = 3}));
}

TEST(SourceImage, DecompressionBombsAreRefusedByTheirHeader) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_SAYS("100000 x 100000 pixels are more than the 64000000 allowed", refusal(png(100'000, 100'000, "")));
  EXPECT_SAYS("pixels are more than", refusal(png(0x7FFFFFFF, 0x7FFFFFFF, "")));
  EXPECT_SAYS("pixels are more than", refusal(png(0xFFFFFFFF, 1, "")));
  EXPECT_SAYS("its size is 0 x 5", refusal(png(0, 5, "")));
  for (const std::string name : {"rgb.JPEG", "rgb.WEBP", "lossy.WEBP", "rgb.BMP", "rgb.TIFF"}) {
    SCOPED_TRACE(name);
    EXPECT_SAYS("21 x 13 pixels are more than the 100 allowed", refusal(golden_file(name), {.max_pixels = 100}));
  }
  Bytes jpeg = golden_file("rgb.JPEG");
  const auto frame = std::search(jpeg.begin(), jpeg.end(), std::begin("\xFF\xC0"), std::begin("\xFF\xC0") + 2,
                                 [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); });
  ASSERT_NE(frame, jpeg.end());
  std::fill(frame + 5, frame + 9, std::uint8_t{0xFF});
  EXPECT_SAYS("65535 x 65535 pixels", refusal(jpeg));

  Bytes repainting = golden_file("progressive.JPEG");  // its last scan, again and again
  const std::string scan_marker = "\xFF\xDA";
  const auto last_scan = std::find_end(repainting.begin(), repainting.end(), scan_marker.begin(), scan_marker.end(),
                                       [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); });
  const Bytes scan(last_scan, repainting.end() - 2);
  for (int i = 0; i < 200; ++i) repainting.insert(repainting.end() - 2, scan.begin(), scan.end());
  EXPECT_SAYS("more than 100 times", refusal(repainting));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(SourceImage, UnsupportedFormatsAreNamed) {
  EXPECT_SAYS("GIF is not supported; supported are PNG, JPEG, WebP, BMP and TIFF", refusal(bytes_of("GIF89a\1\1\1\1")));
  EXPECT_SAYS("AVIF", refusal(bytes_of(std::string("\0\0\0\x1c", 4) + "ftypavif")));
  EXPECT_SAYS("HEIF", refusal(bytes_of(std::string("\0\0\0\x1c", 4) + "ftypheic")));
  EXPECT_SAYS("JPEG 2000", refusal(bytes_of("\xFF\x4F\xFF\x51")));
  EXPECT_SAYS("BigTIFF", refusal(bytes_of(std::string("II+\0\10\0\0\0", 8))));
  EXPECT_SAYS("text", refusal(bytes_of("<svg xmlns='http://www.w3.org/2000/svg'/>")));
  EXPECT_SAYS("text", refusal(bytes_of("<!DOCTYPE html><html></html>")));
  EXPECT_SAYS("not a picture", refusal(bytes_of("%PDF-1.7")));
  EXPECT_SAYS("empty", refusal(Bytes{}));
  EXPECT_SAYS("damaged", refusal(png(2, 2, "these bytes are no zlib stream")));
}

/// A file cut short must be refused; half a picture with the rest in grey would be a wrong answer.
TEST(SourceImage, TruncatedFilesAreRefusedAtEveryLength) {
  int cut = 0;
  for (const std::string name :
       {"rgb.PNG", "palette.PNG", "rgb.JPEG", "progressive.JPEG", "orientation 6.JPEG", "rgb.WEBP", "lossy.WEBP",
        "orientation 6.WEBP", "rgb.BMP", "palette.BMP", "rgb.TIFF", "tiff_lzw.TIFF", "jpeg.TIFF"}) {
    const Bytes whole = golden_file(name);
    for (std::size_t length = 0; length < whole.size(); length += 1 + length / 16) {
      SCOPED_TRACE(name + " cut to " + std::to_string(length) + " of " + std::to_string(whole.size()));
      EXPECT_FALSE(refusal(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))).empty());
      ++cut;
    }
    SCOPED_TRACE(name + " without its last byte");
    refusal(Bytes(whole.begin(), whole.end() - 1));
  }
  EXPECT_GE(cut, 50);
}

/// Found by ci/fuzz: a second header shorter than the first was read beyond its end.
TEST(SourceImage, PngsWithASecondHeaderAreRefused) {
  const std::string first = png_chunk("IHDR", big_endian(2) + big_endian(2) + std::string("\x08\x02\0\0\0", 5));
  for (const std::size_t length : {0u, 6u, 12u, 13u, 20u})
    EXPECT_SAYS("second header",
                refusal(bytes_of("\x89PNG\r\n\x1A\n" + first + png_chunk("IHDR", std::string(length, '\1')))));
}

/// A grey TIFF of one pixel of 16 bits, whose directory says BitsPerSample once for each of `bits`.
Bytes tiff_of_bits(const std::vector<int>& bits) {
  const auto little_endian = [](std::uint32_t value, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
    return text;
  };
  const auto entry = [&](std::uint32_t tag, std::uint32_t value) {
    return little_endian(tag, 2) + little_endian(3, 2) + little_endian(1, 4) + little_endian(value, 4);
  };
  std::string entries = entry(256, 1) + entry(257, 1);
  for (const int value : bits) entries += entry(258, static_cast<std::uint32_t>(value));
  const std::uint32_t count = 7 + static_cast<std::uint32_t>(bits.size());
  const std::uint32_t pixels_at = 8 + 2 + 12 * count + 4;
  entries += entry(259, 1) + entry(262, 1) + entry(273, pixels_at) + entry(278, 1) + entry(279, 2);
  return bytes_of(std::string("II*\0\10\0\0\0", 8) + little_endian(count, 2) + entries + little_endian(0, 4) +
                  little_endian(0x8000, 2));
}

/// Found by ci/fuzz: a width that no sample has was shifted by, though only PNG names a transparent colour.
TEST(SourceImage, TiffsOfImpossibleWidthsGiveAPictureOrARefusal) {
  EXPECT_EQ(decode_image(tiff_of_bits({16}), "grey").rgb, (std::vector<std::uint8_t>{128, 128, 128}));
  for (const int width : {0, 17, 32, 63, 64, 65535}) {
    SCOPED_TRACE(width);
    EXPECT_SAYS("bits a sample is not supported", refusal(tiff_of_bits({width})));
    refusal(tiff_of_bits({16, width}));
    refusal(tiff_of_bits({width, 16}));
  }
}

/// Anything may come of a damaged file but a crash, another code, or a picture of the wrong size.
TEST(SourceImage, DamagedFilesGiveAPictureOrARefusal) {
  std::mt19937_64 random(11);
  int pictures = 0, refusals = 0;
  for (const auto& [name, golden] : goldens().items()) {
    const Bytes whole = golden_file(name);
    for (int round = 0; round < 40; ++round) {
      Bytes file = whole;
      for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
        // Headers decide more than pixels: half of the damage goes there.
        const std::size_t at = random() % (random() % 2 == 0 ? std::min<std::size_t>(file.size(), 64) : file.size());
        file[at] = random() % 4 == 0 ? std::uint8_t{0xFF} : static_cast<std::uint8_t>(file[at] ^ (1u << random() % 8));
      }
      SCOPED_TRACE(name + ", round " + std::to_string(round));
      try {
        const Image image = decode_image(file, name, {.max_pixels = 1'000'000});
        EXPECT_EQ(image.rgb.size(),
                  std::size_t{3} * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height));
        ++pictures;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kSourceImageError) << error.what();
        ++refusals;
      }
    }
  }
  EXPECT_GT(pictures, 100);
  EXPECT_GT(refusals, 500);
}

TEST(SourceImage, RandomBytesBehindEveryMagicAreRefused) {
  std::mt19937_64 random(12);
  for (const std::string& magic :
       {std::string("\x89PNG\r\n\x1A\n"), std::string("\xFF\xD8\xFF\xE0"), std::string("RIFF\x40\0\0\0WEBPVP8 ", 16),
        std::string("BM"), std::string("II*\0\x08\0\0\0", 8), std::string("MM\0*\0\0\0\x08", 8)}) {
    for (int round = 0; round < 50; ++round) {
      std::string text = magic;
      for (std::uint64_t length = random() % 400; length > 0; --length) text += static_cast<char>(random());
      refusal(bytes_of(text));
    }
  }
}

TEST(SourceImage, PngsAreWrittenExactlyAndWholeOrNotAtAll) {
  const Image image = decode_image(golden_file("alpha.PNG"), "alpha");
  EXPECT_EQ(decode_image(encode_png(image), "again"), image);
  EXPECT_EQ(encode_png(image), encode_png(image));
  try {
    write_png(image, "/nonexistent/folder/a.png");
    FAIL() << "written";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kGenerationFailed);
    EXPECT_SAYS("/nonexistent/folder/a.png", error.what());
  }
  EXPECT_THROW(encode_png(Image{2, 2, {1, 2, 3}}), Error);
}

}  // namespace
}  // namespace i2i
