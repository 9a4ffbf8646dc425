// Source pictures: from an address to RGB8, and from their own size to the model's. Also writes PNG.
// Everything that a hostile address could make large is bounded here.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "interface/error.h"
#include "interface/image.h"

namespace i2i {

/// Bounds on what a source address may cost. Reaching one is ErrorCode::kSourceImageError with the value and the bound.
struct SourceLimits {
  std::size_t max_bytes = 64u << 20;
  long long max_pixels = 64'000'000;
  double timeout_seconds = 30;
  int max_redirects = 5;
};

/// Loads `address`: a path, file://, data: or http(s)://. PNG, JPEG, WebP, BMP or TIFF; EXIF orientation applied,
/// alpha composited on white, 16 bit, grey and palette turned into RGB8.
/// @throws Error(kSourceImageError) naming the address and what is wrong with it
Image load_source_image(const std::string& address, const SourceLimits& limits = {});

/// Decodes an encoded picture held in memory; the second half of load_source_image.
Image decode_image(std::span<const std::uint8_t> encoded, const std::string& name, const SourceLimits& limits = {});

/// Which axis Pillow resizes first: 12.3 and older always the horizontal one, 13.0 by the sizes (semantics.md section
/// 2).
enum class PillowOrder { kPillow13, kPillow12 };

/// Pillow's Lanczos on RGB8, byte for byte; stretches, never crops. The same size gives an untouched copy.
Image resize_lanczos(const Image& image, int width, int height, PillowOrder order = PillowOrder::kPillow13);

/// PNG bytes of an image.
std::vector<std::uint8_t> encode_png(const Image& image);

/// Writes a PNG file atomically (temporary file, then rename). @throws Error(kGenerationFailed) naming the path
void write_png(const Image& image, const std::string& path);

}  // namespace i2i
