// decode_image: from the bytes of a file to RGB8, by OpenCV's readers behind the checks of image_header.h.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <new>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <utility>

#include "interface/fetch.h"
#include "interface/image_header.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kSourceImageError, what); }

/// round(value * 255 / maximum), halves upwards.
constexpr std::uint8_t to_byte(std::uint64_t value, std::uint64_t maximum) {
  return static_cast<std::uint8_t>((value * 510 + maximum) / (2 * maximum));
}

/// One pixel over white, in the file's own precision, rounded once at the end.
template <typename Sample>
std::uint8_t over_white(Sample colour, Sample alpha) {
  constexpr std::uint64_t kMaximum = std::numeric_limits<Sample>::max();
  return to_byte(std::uint64_t{colour} * alpha + kMaximum * (kMaximum - alpha), kMaximum * kMaximum);
}

template <typename Sample>
std::uint8_t over_white_premultiplied(Sample colour, Sample alpha) {
  constexpr std::uint64_t kMaximum = std::numeric_limits<Sample>::max();
  return to_byte(std::min(std::uint64_t{colour} + kMaximum - alpha, kMaximum), kMaximum);
}

/// The colour that a PNG declares transparent, scaled as the decoder scales its samples; empty where there is none.
template <typename Sample>
std::vector<Sample> transparent_colour(const ImageHeader& header) {
  std::vector<Sample> colour;
  if (header.transparent_colour.empty()) return colour;  // other formats claim widths that no shift takes
  const std::uint32_t stored_maximum = (1u << header.bits_per_sample) - 1;
  for (const std::uint16_t level : header.transparent_colour) {
    colour.push_back(
        static_cast<Sample>((level & stored_maximum) * std::numeric_limits<Sample>::max() / stored_maximum));
  }
  return colour;
}

/// Grey, grey with alpha, BGR or BGRA of 8 or 16 bits -> RGB8 on white.
template <typename Sample>
Image to_rgb8(const cv::Mat& pixels, const ImageHeader& header) {
  constexpr std::uint64_t kMaximum = std::numeric_limits<Sample>::max();
  const int channels = pixels.channels();
  const bool grey = channels < 3;
  const AlphaKind alpha = channels == 2 || channels == 4 ? header.alpha : AlphaKind::kNone;
  const std::vector<Sample> key = transparent_colour<Sample>(header);
  const bool keyed = alpha == AlphaKind::kNone && key.size() == (grey ? 1u : 3u);

  Image image{pixels.cols, pixels.rows, {}};
  image.rgb.resize(std::size_t{3} * static_cast<std::size_t>(pixels.cols) * static_cast<std::size_t>(pixels.rows));
  std::uint8_t* out = image.rgb.data();
  for (int y = 0; y < pixels.rows; ++y) {
    const Sample* in = pixels.ptr<Sample>(y);
    for (int x = 0; x < pixels.cols; ++x, in += channels, out += 3) {
      const bool transparent =
          keyed && (grey ? in[0] == key[0] : in[2] == key[0] && in[1] == key[1] && in[0] == key[2]);
      for (int c = 0; c < 3; ++c) {
        const Sample colour = transparent ? std::numeric_limits<Sample>::max() : grey ? in[0] : in[2 - c];
        out[c] = alpha == AlphaKind::kNone       ? to_byte(colour, kMaximum)
                 : alpha == AlphaKind::kStraight ? over_white<Sample>(colour, in[channels - 1])
                                                 : over_white_premultiplied<Sample>(colour, in[channels - 1]);
      }
    }
  }
  return image;
}

/// Turns a stored picture upright. EXIF's numbers say where the stored row 0 and column 0 belong:
/// 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom.
Image upright(Image stored, int orientation) {
  if (orientation == 1) return stored;
  const bool swapped = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Image image{swapped ? stored.height : stored.width, swapped ? stored.width : stored.height, {}};
  image.rgb.resize(stored.rgb.size());
  std::uint8_t* out = image.rgb.data();
  for (int y = 0; y < image.height; ++y) {
    const int from_y = from_bottom ? image.height - 1 - y : y;
    for (int x = 0; x < image.width; ++x, out += 3) {
      const int from_x = from_right ? image.width - 1 - x : x;
      const int row = swapped ? from_x : from_y, column = swapped ? from_y : from_x;
      const std::size_t at = 3 * (static_cast<std::size_t>(row) * static_cast<std::size_t>(stored.width) +
                                  static_cast<std::size_t>(column));
      out[0] = stored.rgb[at];
      out[1] = stored.rgb[at + 1];
      out[2] = stored.rgb[at + 2];
    }
  }
  return image;
}

/// Sends what is written to stderr nowhere while it lives. OpenCV's readers, libjpeg, libpng and libtiff complain there
/// about damaged files past every switch; the caller gets an Error instead. Not used under the sanitizers, whose
/// reports go there too.
class QuietStderr {
 public:
  QuietStderr() {
#ifndef __SANITIZE_ADDRESS__
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    kept_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (nowhere >= 0 && kept_ >= 0) ::dup2(nowhere, STDERR_FILENO);
    if (nowhere >= 0) ::close(nowhere);
#endif
  }
  ~QuietStderr() {
    if (kept_ < 0) return;
    ::dup2(kept_, STDERR_FILENO);
    ::close(kept_);
  }
  QuietStderr(const QuietStderr&) = delete;
  QuietStderr& operator=(const QuietStderr&) = delete;

 private:
  static inline std::mutex one_at_a_time_;
  const std::lock_guard<std::mutex> lock_{one_at_a_time_};
  int kept_ = -1;
};

/// The decoder's own picture: grey, BGR or BGRA.
cv::Mat decode_pixels(std::span<const std::uint8_t> encoded) {
  static const auto silent = cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  static_cast<void>(silent);
  if (encoded.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) fail("larger than the decoder reads");
  // OpenCV takes its input as a Mat and does not write to it.
  const cv::Mat file(1, static_cast<int>(encoded.size()), CV_8UC1, const_cast<std::uint8_t*>(encoded.data()));
  const QuietStderr quiet;
  try {
    return cv::imdecode(file, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception&) {  // its words name OpenCV's own source lines
    return {};
  }
}

Image decode_unnamed(std::span<const std::uint8_t> encoded, const SourceLimits& limits) {
  const ImageHeader header = read_image_header(encoded, limits);
  const bool turned_tiff = header.format == ImageFormat::kTiff && header.orientation != 1;
  const cv::Mat pixels = turned_tiff ? decode_pixels(without_tiff_orientation(encoded)) : decode_pixels(encoded);
  if (pixels.empty()) fail("the file is damaged, or of a variant of its format that is not supported");
  if (pixels.cols != header.width || pixels.rows != header.height) {
    fail(fmt::format("its header says {} x {}, its pixels are {} x {}", header.width, header.height, pixels.cols,
                     pixels.rows));
  }
  if (pixels.channels() > 4) fail(fmt::format("{} channels are not supported", pixels.channels()));
  if (pixels.depth() == CV_8U) return upright(to_rgb8<std::uint8_t>(pixels, header), header.orientation);
  if (pixels.depth() == CV_16U) return upright(to_rgb8<std::uint16_t>(pixels, header), header.orientation);
  fail("its samples are neither 8 nor 16 bit integers");
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> encoded, const std::string& name, const SourceLimits& limits) {
  try {
    return decode_unnamed(encoded, limits);
  } catch (const Error& error) {
    throw Error(error.code(), display_name(name) + ": " + error.what());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kSourceImageError, display_name(name) + ": there is not enough memory to decode it");
  }
}

Image load_source_image(const std::string& address, const SourceLimits& limits) {
  return decode_image(fetch(address, limits), address, limits);
}

}  // namespace i2i
