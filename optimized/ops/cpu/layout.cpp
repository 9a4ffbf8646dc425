// Operators that move data: channels side by side, the UNet's input, pixels in and out.
#include <cmath>
#include <cstring>

#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

void concat_channels(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) {
  const Rows x = rows_of(a, "concat_channels a"), z = rows_of(b, "concat_channels b"),
             y = rows_of(out, "concat_channels out");
  TORCH_CHECK(x.count == y.count && z.count == y.count && x.width + z.width == y.width, "concat_channels: ", a.sizes(),
              " and ", b.sizes(), " to ", out.sizes());
  constexpr std::int64_t kRowsPerTask = 128;
  for_each_task((y.count + kRowsPerTask - 1) / kRowsPerTask, static_cast<double>(y.count * y.width) * 0.1,
                [&](std::int64_t task) {
                  const std::int64_t end = std::min(y.count, (task + 1) * kRowsPerTask);
                  for (std::int64_t row = task * kRowsPerTask; row < end; ++row) {
                    std::memcpy(y.data + row * y.width, x.data + row * x.width,
                                static_cast<std::size_t>(x.width) * sizeof(float));
                    std::memcpy(y.data + row * y.width + x.width, z.data + row * z.width,
                                static_cast<std::size_t>(z.width) * sizeof(float));
                  }
                });
}

void unet_input(const at::Tensor& latents, const OptionalTensor& condition, double scale, const at::Tensor& out) {
  const Rows y = rows_of(out, "unet_input out");
  const std::int64_t images = latents.size(0), channels = latents.size(1), pixels = latents.size(2) * latents.size(3);
  TORCH_CHECK(latents.is_contiguous() && latents.scalar_type() == at::kFloat && y.images % images == 0 &&
                  y.count == y.images * pixels,
              "unet_input: ", latents.sizes(), " to ", out.sizes());
  const std::int64_t rest = y.width - channels;
  const float* extra = nullptr;
  std::int64_t sets = 1;
  if (condition.has_value()) {
    TORCH_CHECK(condition->size(1) == rest && y.images % condition->size(0) == 0, "unet_input: condition ",
                condition->sizes(), " to ", out.sizes());
    sets = condition->size(0);
    extra = optional_floats(condition, sets * rest * pixels, "unet_input condition");
  } else {
    TORCH_CHECK(rest == 0, "unet_input: ", latents.sizes(), " to ", out.sizes());
  }
  const auto* source = static_cast<const float*>(latents.const_data_ptr());
  const float factor = static_cast<float>(scale);
  for (std::int64_t row = 0; row < y.images; ++row) {
    const float* sample = source + row % images * channels * pixels;
    const float* beside = extra == nullptr ? nullptr : extra + row * sets / y.images * rest * pixels;
    float* target = y.data + row * pixels * y.width;
    for (std::int64_t p = 0; p < pixels; ++p, target += y.width) {
      for (std::int64_t c = 0; c < channels; ++c) target[c] = sample[c * pixels + p] * factor;
      for (std::int64_t c = 0; c < rest; ++c) target[channels + c] = beside[c * pixels + p];
    }
  }
}

void pixels_to_sample(const at::Tensor& rgb, const at::Tensor& out) {
  const Rows y = rows_of(out, "pixels_to_sample out");
  TORCH_CHECK(rgb.scalar_type() == at::kByte && rgb.is_contiguous() && rgb.numel() == y.count * y.width,
              "pixels_to_sample: ", rgb.sizes(), " to ", out.sizes());
  const auto* source = static_cast<const std::uint8_t*>(rgb.const_data_ptr());
  for (std::int64_t i = 0; i < y.count * y.width; ++i)
    y.data[i] = 2.0f * (static_cast<float>(source[i]) / 255.0f) - 1.0f;
}

void sample_to_pixels(const at::Tensor& sample, const at::Tensor& out) {
  const Rows x = rows_of(sample, "sample_to_pixels sample");
  TORCH_CHECK(out.is_contiguous() && out.scalar_type() == at::kFloat && out.numel() == x.count * x.width,
              "sample_to_pixels: ", sample.sizes(), " to ", out.sizes());
  auto* target = static_cast<float*>(out.data_ptr());
  for (std::int64_t i = 0; i < x.count * x.width; ++i) {
    const float value = x.data[i] * 0.5f + 0.5f;
    // Written so that NaN stays NaN: the pipeline's check must see it.
    target[i] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
  }
}

}  // namespace i2i::cpu
