#include "interface/image_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace i2i {
namespace {

using Bytes = std::span<const std::uint8_t>;

// A progressive JPEG repaints the whole picture at each scan; encoders write about ten.
constexpr int kMaxJpegScans = 100;

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kSourceImageError, what); }
[[noreturn]] void fail_truncated(const char* format) { fail(fmt::format("the {} file ends early", format)); }

bool has_at(Bytes bytes, std::size_t offset, std::string_view text) {
  return offset <= bytes.size() && text.size() <= bytes.size() - offset &&
         std::equal(text.begin(), text.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
}

/// Unsigned integer of `count` bytes; the caller has checked that they are there.
std::uint32_t big_endian(Bytes bytes, std::size_t offset, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | bytes[offset + i];
  return value;
}
std::uint32_t little_endian(Bytes bytes, std::size_t offset, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = count; i > 0; --i) value = value << 8 | bytes[offset + i - 1];
  return value;
}

int orientation_of_exif(Bytes exif) {
  if (has_at(exif, 0, std::string_view("Exif\0\0", 6))) exif = exif.subspan(6);
  const auto directory = read_tiff_directory(exif);
  return directory ? directory->orientation : 1;
}

std::uint32_t crc32(Bytes bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
      entries[i] = value;
    }
    return entries;
  }();
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::uint8_t byte : bytes) crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

/// PNG (ISO/IEC 15948): every chunk up to IEND must be there with the right checksum.
ImageHeader read_png(Bytes bytes) {
  ImageHeader header;
  header.format = ImageFormat::kPng;
  bool has_data = false;
  int colour_type = 0;
  for (std::size_t at = 8;;) {
    if (bytes.size() - at < 12) fail_truncated("PNG");
    const std::size_t length = big_endian(bytes, at, 4);
    const auto is = [&](std::string_view type) { return has_at(bytes, at + 4, type); };
    if (at == 8 && (!is("IHDR") || length != 13)) fail("the PNG file does not begin with its header");
    if (length > bytes.size() - at - 12) fail_truncated("PNG");
    const Bytes data = bytes.subspan(at + 8, length);
    if (crc32(bytes.subspan(at + 4, length + 4)) != big_endian(bytes, at + 8 + length, 4)) {
      fail(fmt::format("the PNG file is damaged: a checksum is wrong at byte {}", at));
    }
    if (is("IHDR")) {
      if (at != 8) fail("the PNG file has a second header");
      header.width = big_endian(data, 0, 4);
      header.height = big_endian(data, 4, 4);
      header.bits_per_sample = data[8];
      colour_type = data[9];
    } else if (is("tRNS") && ((colour_type == 0 && length == 2) || (colour_type == 2 && length == 6))) {
      for (std::size_t i = 0; i < length; i += 2) {
        header.transparent_colour.push_back(static_cast<std::uint16_t>(big_endian(data, i, 2)));
      }
    } else if (is("eXIf")) {
      header.orientation = orientation_of_exif(data);
    } else if (is("IDAT")) {
      has_data = true;
    } else if (is("IEND")) {
      if (!has_data) fail("the PNG file holds no picture");
      return header;
    }
    at += 12 + length;
  }
}

/// JPEG (ITU T.81 annex B): walks the segments and the entropy-coded data to the end-of-image marker.
/// Decoders fill what is missing with grey, so a file without that marker is refused here.
ImageHeader read_jpeg(Bytes bytes) {
  ImageHeader header;
  header.format = ImageFormat::kJpeg;
  int scans = 0;
  std::size_t at = 2;
  for (;;) {
    // Between segments any number of 0xFF may stand before the marker; after a scan, data bytes are skipped up to one.
    while (at < bytes.size() && bytes[at] != 0xFF) ++at;
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;
    if (at >= bytes.size()) fail_truncated("JPEG");
    const int marker = bytes[at++];
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // stuffing, TEM, RSTn, SOI
    if (marker == 0xD9) break;
    if (bytes.size() - at < 2) fail_truncated("JPEG");
    const std::size_t length = big_endian(bytes, at, 2);
    if (length < 2) fail("the JPEG file is damaged: a segment has no length");
    if (length > bytes.size() - at) fail_truncated("JPEG");
    const Bytes segment = bytes.subspan(at + 2, length - 2);
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame && segment.size() >= 6 && header.width == 0) {
      header.bits_per_sample = segment[0];
      header.height = big_endian(segment, 1, 2);
      header.width = big_endian(segment, 3, 2);
    } else if (marker == 0xE1 && has_at(segment, 0, "Exif")) {
      header.orientation = orientation_of_exif(segment);
    } else if (marker == 0xDA && ++scans > kMaxJpegScans) {
      fail(fmt::format("the JPEG file paints its picture more than {} times", kMaxJpegScans));
    }
    at += length;
  }
  if (scans == 0) fail("the JPEG file holds no picture");
  return header;
}

/// WebP (RFC 9649): RIFF chunks; the size stands in the first one, EXIF in a later one.
ImageHeader read_webp(Bytes bytes) {
  ImageHeader header;
  header.format = ImageFormat::kWebp;
  const std::uint64_t riff_size = little_endian(bytes, 4, 4);
  if (riff_size + 8 > bytes.size()) fail_truncated("WebP");
  bytes = bytes.first(static_cast<std::size_t>(riff_size) + 8);
  for (std::size_t at = 12; at < bytes.size() && bytes.size() - at >= 8;) {
    const std::size_t length = little_endian(bytes, at + 4, 4);
    if (length > bytes.size() - at - 8) fail_truncated("WebP");
    const Bytes data = bytes.subspan(at + 8, length);
    if (has_at(bytes, at, "VP8X") && length >= 10) {
      if ((data[0] & 2) != 0) fail("animated WebP is not supported");
      header.width = 1 + std::int64_t{little_endian(data, 4, 3)};
      header.height = 1 + std::int64_t{little_endian(data, 7, 3)};
    } else if (has_at(bytes, at, "VP8 ") && length >= 10 && header.width == 0) {
      header.width = little_endian(data, 6, 2) & 0x3FFF;
      header.height = little_endian(data, 8, 2) & 0x3FFF;
    } else if (has_at(bytes, at, "VP8L") && length >= 5 && header.width == 0) {
      const std::uint32_t sizes = little_endian(data, 1, 4);
      header.width = 1 + std::int64_t{sizes & 0x3FFF};
      header.height = 1 + std::int64_t{(sizes >> 14) & 0x3FFF};
    } else if (has_at(bytes, at, "EXIF")) {
      header.orientation = orientation_of_exif(data);
    }
    at += 8 + length + (length & 1);
  }
  return header;
}

ImageHeader read_bmp(Bytes bytes) {
  ImageHeader header;
  header.format = ImageFormat::kBmp;
  if (bytes.size() < 26) fail_truncated("BMP");
  const std::uint32_t pixels_at = little_endian(bytes, 10, 4);
  const std::uint32_t header_size = little_endian(bytes, 14, 4);
  if (header_size == 12) {  // OS/2
    header.width = little_endian(bytes, 18, 2);
    header.height = little_endian(bytes, 20, 2);
    return header;
  }
  if (header_size < 40 || bytes.size() < 54) fail_truncated("BMP");
  header.width = static_cast<std::int32_t>(little_endian(bytes, 18, 4));
  header.height = static_cast<std::int32_t>(little_endian(bytes, 22, 4));
  if (header.height < 0) header.height = -header.height;  // rows from the top
  const std::int64_t bits = little_endian(bytes, 28, 2);
  const std::uint32_t compression = little_endian(bytes, 30, 4);
  // Only a header that has an alpha mask gives the fourth byte a meaning.
  const bool has_alpha_mask = header_size >= 56 && bytes.size() >= 70 && (compression == 3 || compression == 6) &&
                              little_endian(bytes, 66, 4) != 0;
  if (!has_alpha_mask) header.alpha = AlphaKind::kNone;
  const bool plain = compression == 0 || compression == 3 || compression == 6;
  if (plain && header.width > 0 && header.width <= 0x7FFFFF) {
    const std::int64_t row_bytes = (header.width * bits + 31) / 32 * 4;
    if (header.height > 0 && (static_cast<std::int64_t>(bytes.size()) - pixels_at) / header.height < row_bytes) {
      fail_truncated("BMP");
    }
  }
  return header;
}

ImageHeader read_tiff(Bytes bytes) {
  const auto directory = read_tiff_directory(bytes);
  if (!directory) fail_truncated("TIFF");
  ImageHeader header;
  header.format = ImageFormat::kTiff;
  header.width = directory->width;
  header.height = directory->height;
  header.orientation = directory->orientation;
  header.bits_per_sample = directory->bits_per_sample;
  if (directory->bits_per_sample < 1 || directory->bits_per_sample > 16) {  // some of which the decoder guesses at
    fail(fmt::format("TIFF with {} bits a sample is not supported; at most 16 are", directory->bits_per_sample));
  }
  if (directory->samples_per_pixel == 2) fail("grey TIFF with transparency is not supported");  // the decoder drops it
  // libtiff multiplies straight alpha of 8 bits into the colours; 16 bits reach us as they are stored.
  if (directory->extra_samples == 0) header.alpha = AlphaKind::kNone;
  if (directory->extra_samples == 1 || (directory->extra_samples == 2 && directory->bits_per_sample == 8)) {
    header.alpha = AlphaKind::kPremultiplied;
  }
  return header;
}

/// What an unsupported file probably is, for the message.
std::string_view likely_kind(Bytes bytes) {
  if (bytes.empty()) return "the file is empty";
  if (has_at(bytes, 0, "GIF8")) return "GIF is not supported";
  if (has_at(bytes, 4, "ftypavif") || has_at(bytes, 4, "ftypavis")) return "AVIF is not supported";
  if (has_at(bytes, 4, "ftyphei") || has_at(bytes, 4, "ftypmif1")) return "HEIF is not supported";
  if (has_at(bytes, 4, "jP  ") || has_at(bytes, 0, "\xFF\x4F\xFF\x51")) return "JPEG 2000 is not supported";
  if (has_at(bytes, 0, std::string_view("II+\0", 4)) || has_at(bytes, 0, std::string_view("MM\0+", 4))) {
    return "BigTIFF is not supported";
  }
  if (has_at(bytes, 0, "<")) return "the file is a text (HTML, SVG or XML), not a picture";
  return "the file is not a picture of a known format";
}

ImageHeader read_by_format(Bytes bytes) {
  if (has_at(bytes, 0, "\x89PNG\r\n\x1A\n")) return read_png(bytes);
  if (has_at(bytes, 0, "\xFF\xD8\xFF")) return read_jpeg(bytes);
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return read_webp(bytes);
  if (has_at(bytes, 0, "BM")) return read_bmp(bytes);
  if (has_at(bytes, 0, std::string_view("II*\0", 4)) || has_at(bytes, 0, std::string_view("MM\0*", 4))) {
    return read_tiff(bytes);
  }
  fail(fmt::format("{}; supported are PNG, JPEG, WebP, BMP and TIFF", likely_kind(bytes)));
}

}  // namespace

std::optional<TiffDirectory> read_tiff_directory(Bytes tiff) {
  const bool little = has_at(tiff, 0, std::string_view("II*\0", 4));
  if (tiff.size() < 8 || (!little && !has_at(tiff, 0, std::string_view("MM\0*", 4)))) return std::nullopt;
  const auto number = [&](std::size_t offset, std::size_t count) {
    return little ? little_endian(tiff, offset, count) : big_endian(tiff, offset, count);
  };
  const std::size_t start = number(4, 4);
  if (start > tiff.size() || tiff.size() - start < 2) return std::nullopt;
  const std::size_t entries = number(start, 2);
  if ((tiff.size() - start - 2) / 12 < entries) return std::nullopt;

  TiffDirectory directory;
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t at = start + 2 + i * 12;
    const std::uint32_t tag = number(at, 2), type = number(at + 2, 2), count = number(at + 4, 4);
    if (type != 3 && type != 4) continue;  // SHORT, LONG
    const std::size_t size = type == 3 ? 2 : 4;
    std::size_t value_at = at + 8;
    if (count > 4 / size) value_at = number(at + 8, 4);
    if (count == 0 || value_at > tiff.size() || tiff.size() - value_at < size) continue;
    const std::uint32_t value = number(value_at, size);
    if (tag == 256) directory.width = value;
    if (tag == 257) directory.height = value;
    if (tag == 258) directory.bits_per_sample = static_cast<int>(std::min(value, 64u));
    if (tag == 277) directory.samples_per_pixel = static_cast<int>(std::min(value, 64u));
    if (tag == 338) directory.extra_samples = static_cast<int>(std::min(value, 64u));
    if (tag == 274 && type == 3 && value >= 1 && value <= 8) {
      directory.orientation = static_cast<int>(value);
      directory.orientation_at = value_at;
    }
  }
  return directory;
}

std::vector<std::uint8_t> without_tiff_orientation(Bytes tiff) {
  std::vector<std::uint8_t> copy(tiff.begin(), tiff.end());
  const auto directory = read_tiff_directory(tiff);
  if (directory && directory->orientation_at != 0) {
    const bool little = tiff[0] == 'I';
    copy[directory->orientation_at] = little ? 1 : 0;
    copy[directory->orientation_at + 1] = little ? 0 : 1;
  }
  return copy;
}

ImageHeader read_image_header(std::span<const std::uint8_t> encoded, const SourceLimits& limits) {
  const ImageHeader header = read_by_format(encoded);
  if (header.width <= 0 || header.height <= 0) fail(fmt::format("its size is {} x {}", header.width, header.height));
  if (header.width > limits.max_pixels / header.height) {
    fail(fmt::format("{} x {} pixels are more than the {} allowed", header.width, header.height, limits.max_pixels));
  }
  return header;
}

}  // namespace i2i
