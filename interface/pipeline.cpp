#include "interface/pipeline.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cstring>

#include "interface/error.h"

namespace i2i {

Image to_image(const at::Tensor& image_hwc) {
  if (image_hwc.dim() != 3 || image_hwc.size(2) != 3)
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("an image has {} dimensions where [H,W,3] was due", image_hwc.dim()));
  const c10::NoGradGuard no_grad;
  // at::round rounds halves to even, as numpy does.
  const at::Tensor bytes = image_hwc.to(at::kCPU, at::kFloat).mul(255).round().clamp(0, 255).to(at::kByte).contiguous();
  Image image{static_cast<int>(bytes.size(1)), static_cast<int>(bytes.size(0)), {}};
  image.rgb.resize(static_cast<std::size_t>(bytes.numel()));
  if (!image.rgb.empty()) std::memcpy(image.rgb.data(), bytes.const_data_ptr<std::uint8_t>(), image.rgb.size());
  return image;
}

}  // namespace i2i
