// resize_lanczos: Pillow's resampling (src/libImaging/Resample.c) in its fixed-point form, byte for byte.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "interface/source_image.h"

namespace i2i {
namespace {

constexpr int kWeightBits = 22;  // Pillow: 32 bits, less 8 of the pixel, less 2 for the lobes
constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
constexpr double kLobes = 3.0;

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return x >= -kLobes && x < kLobes ? sinc(x) * sinc(x / kLobes) : 0.0; }

/// Which input samples make one output sample, and with what weights.
struct Window {
  int first = 0;
  std::vector<std::int32_t> weights;
};

std::vector<Window> windows(int in_size, int out_size) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kLobes * filter_scale;
  std::vector<Window> result(static_cast<std::size_t>(out_size));
  std::vector<double> exact;
  for (int i = 0; i < out_size; ++i) {
    const double centre = (i + 0.5) * scale;
    // NOLINTBEGIN(bugprone-incorrect-roundings): Pillow truncates these sums towards zero, and so must we.
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + support + 0.5), in_size);
    // NOLINTEND(bugprone-incorrect-roundings)
    exact.clear();
    double sum = 0.0;
    for (int x = first; x < last; ++x) {
      exact.push_back(lanczos((x - centre + 0.5) * (1.0 / filter_scale)));
      sum += exact.back();
    }
    Window& window = result[static_cast<std::size_t>(i)];
    window.first = first;
    for (const double weight : exact) {
      const double fixed = weight / sum * (1 << kWeightBits);
      window.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return result;
}

std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

constexpr std::int64_t kRowsOfATask = 16;

Image resize_horizontally(const Image& image, int width) {
  const std::vector<Window> columns = windows(image.width, width);
  Image result{width, image.height, {}};
  const std::size_t in_bytes = std::size_t{3} * static_cast<std::size_t>(image.width),
                    out_bytes = std::size_t{3} * static_cast<std::size_t>(width);
  result.rgb.resize(out_bytes * static_cast<std::size_t>(image.height));
  at::parallel_for(0, image.height, kRowsOfATask, [&](std::int64_t first, std::int64_t last) {
    std::uint8_t* out = result.rgb.data() + out_bytes * static_cast<std::size_t>(first);
    for (std::int64_t y = first; y < last; ++y) {
      const std::uint8_t* row = image.rgb.data() + in_bytes * static_cast<std::size_t>(y);
      for (const Window& window : columns) {
        std::int32_t red = kHalf, green = kHalf, blue = kHalf;
        const std::uint8_t* in = row + std::ptrdiff_t{3} * window.first;
        for (const std::int32_t weight : window.weights) {
          red += weight * in[0];
          green += weight * in[1];
          blue += weight * in[2];
          in += 3;
        }
        *out++ = to_byte(red);
        *out++ = to_byte(green);
        *out++ = to_byte(blue);
      }
    }
  });
  return result;
}

Image resize_vertically(const Image& image, int height) {
  const std::vector<Window> rows = windows(image.height, height);
  const std::size_t row_bytes = std::size_t{3} * static_cast<std::size_t>(image.width);
  Image result{image.width, height, {}};
  result.rgb.resize(row_bytes * static_cast<std::size_t>(height));
  at::parallel_for(0, height, kRowsOfATask, [&](std::int64_t first, std::int64_t last) {
    std::uint8_t* out = result.rgb.data() + row_bytes * static_cast<std::size_t>(first);
    std::vector<std::int32_t> sums(row_bytes);
    for (std::int64_t y = first; y < last; ++y) {
      const Window& window = rows[static_cast<std::size_t>(y)];
      std::fill(sums.begin(), sums.end(), kHalf);
      const std::uint8_t* in = image.rgb.data() + row_bytes * static_cast<std::size_t>(window.first);
      for (const std::int32_t weight : window.weights) {
        for (std::size_t x = 0; x < row_bytes; ++x) sums[x] += weight * in[x];
        in += row_bytes;
      }
      out = std::transform(sums.begin(), sums.end(), out, to_byte);
    }
  });
  return result;
}

}  // namespace

Image resize_lanczos(const Image& image, int width, int height, PillowOrder order) {
  if (width <= 0 || height <= 0) {
    throw Error(ErrorCode::kInvalidRequest,
                "a picture cannot be resized to " + std::to_string(width) + " x " + std::to_string(height));
  }
  // Pillow 13.0 takes the axis first that shrinks much more in pixels; each pass ends in bytes, so the order is
  // visible.
  const bool vertical_first =
      order == PillowOrder::kPillow13 && height < image.height && image.height - height > 2 * (image.width - width);
  Image result = image;
  if (vertical_first) result = resize_vertically(result, height);
  if (width != image.width) result = resize_horizontally(result, width);
  if (!vertical_first && height != image.height) result = resize_vertically(result, height);
  return result;
}

}  // namespace i2i
