// Random picture files. Decoding stays within its bounds, and a picture that is accepted survives our own PNG writer.
#include <cstring>
#include <span>
#include <vector>

#include "interface/source_image.h"
#include "tests/fuzz/fuzz.h"

namespace i2i::fuzz {
namespace {

constexpr std::string_view kPngMagic = "\x89PNG\r\n\x1A\n";
constexpr SourceLimits kLimits{.max_pixels = 1 << 18};

std::uint32_t big_endian(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
  }
  return ~crc;
}

/// Gives every chunk of a PNG file its right checksum, or no mutation would get past the first.
void mend_checksums(std::span<std::uint8_t> file) {
  if (file.size() < kPngMagic.size() || std::memcmp(file.data(), kPngMagic.data(), kPngMagic.size()) != 0) return;
  for (std::size_t at = kPngMagic.size(); file.size() - at >= 12;) {
    const std::size_t length = big_endian(file.data() + at);
    if (length > file.size() - at - 12) return;
    const std::uint32_t crc = crc32(file.subspan(at + 4, length + 4));
    for (int i = 0; i < 4; ++i)
      file[at + 8 + length + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

}  // namespace
}  // namespace i2i::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace i2i;
  ++fuzz::count.inputs;
  Image image;
  if (!fuzz::accepts(ErrorCode::kSourceImageError, [&] { image = decode_image({data, size}, "fuzz", fuzz::kLimits); }))
    return 0;
  ++fuzz::count.accepted;
  fuzz::require(image.width > 0 && image.height > 0, "a picture has pixels");
  const auto pixels = std::int64_t{image.width} * image.height;
  fuzz::require(pixels <= fuzz::kLimits.max_pixels, "no picture is larger than allowed");
  fuzz::require(static_cast<std::int64_t>(image.rgb.size()) == 3 * pixels, "three bytes a pixel");
  const Image again = decode_image(encode_png(image), "again", fuzz::kLimits);
  fuzz::require(again.width == image.width && again.height == image.height && again.rgb == image.rgb,
                "a picture survives our PNG writer");
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  const std::size_t mutated = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) i2i::fuzz::mend_checksums({data, mutated});
  return mutated;
}
