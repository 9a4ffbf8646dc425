// Reads what an encoded picture says about itself, without decoding it: format, size, EXIF orientation, and whether its
// file is whole. That is where bombs and truncated files are refused, since decoders allocate first and forgive too
// much. Called by decode.cpp only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "interface/source_image.h"

namespace i2i {

enum class ImageFormat { kPng, kJpeg, kWebp, kBmp, kTiff };

/// What the fourth sample of a decoded pixel means: nothing, opacity, or opacity that the colours are multiplied with
/// already.
enum class AlphaKind { kNone, kStraight, kPremultiplied };

struct ImageHeader {
  ImageFormat format = ImageFormat::kPng;
  std::int64_t width = 0;  ///< as stored, before orientation
  std::int64_t height = 0;
  int orientation = 1;  ///< EXIF, 1 to 8
  AlphaKind alpha = AlphaKind::kStraight;
  /// PNG without an alpha channel can name one transparent grey level or colour, in the file's own bit depth.
  std::vector<std::uint16_t> transparent_colour;
  int bits_per_sample = 8;
};

/// @throws Error(kSourceImageError) if the format is not supported, the file ends early, a PNG checksum is wrong, or
/// the size
///         is zero or above limits.max_pixels
ImageHeader read_image_header(std::span<const std::uint8_t> encoded, const SourceLimits& limits);

/// The parts of a TIFF's first directory that matter here. EXIF blocks have the same layout.
struct TiffDirectory {
  std::int64_t width = 0;
  std::int64_t height = 0;
  int orientation = 1;
  int bits_per_sample = 1;
  int samples_per_pixel = 1;
  int extra_samples = -1;          ///< -1 absent, 0 unspecified, 1 premultiplied alpha, 2 straight alpha
  std::size_t orientation_at = 0;  ///< where the orientation's 16 bits stand; 0 if it is absent
};

/// Nothing where the bytes are not a TIFF structure or its first directory lies outside them.
std::optional<TiffDirectory> read_tiff_directory(std::span<const std::uint8_t> tiff);

/// A copy of a TIFF file that claims to be upright. OpenCV turns some kinds of TIFF by itself and others not.
std::vector<std::uint8_t> without_tiff_orientation(std::span<const std::uint8_t> tiff);

}  // namespace i2i
