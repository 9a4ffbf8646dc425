// encode_png, write_png: pictures out of i2i.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "interface/source_image.h"

namespace i2i {

std::vector<std::uint8_t> encode_png(const Image& image) {
  const std::size_t bytes =
      std::size_t{3} * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  if (image.width <= 0 || image.height <= 0 || image.rgb.size() != bytes) {
    throw Error(ErrorCode::kGenerationFailed, fmt::format("a picture of {} x {} with {} bytes cannot be written",
                                                          image.width, image.height, image.rgb.size()));
  }
  // OpenCV takes its input as a Mat and does not write to it.
  const cv::Mat rgb(image.height, image.width, CV_8UC3, const_cast<std::uint8_t*>(image.rgb.data()));
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<std::uint8_t> encoded;
  bool written = false;
  try {
    written = cv::imencode(".png", bgr, encoded, {cv::IMWRITE_PNG_COMPRESSION, 6});
  } catch (const cv::Exception&) {
    written = false;
  }
  if (!written) throw Error(ErrorCode::kGenerationFailed, "the picture cannot be encoded as PNG");
  return encoded;
}

void write_png(const Image& image, const std::string& path) {
  const std::vector<std::uint8_t> encoded = encode_png(image);
  static std::atomic<unsigned> writes{0};
  const std::string temporary = fmt::format("{}.{}-{}.tmp", path, ::getpid(), writes++);
  std::ofstream file(temporary, std::ios::binary);
  file.write(reinterpret_cast<const char*>(encoded.data()), static_cast<std::streamsize>(encoded.size()));
  file.close();
  std::error_code problem;
  if (!file) {
    problem = std::error_code(errno, std::generic_category());
  } else {
    std::filesystem::rename(temporary, path, problem);
  }
  if (problem) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw Error(ErrorCode::kGenerationFailed, fmt::format("{} cannot be written: {}", path, problem.message()));
  }
}

}  // namespace i2i
