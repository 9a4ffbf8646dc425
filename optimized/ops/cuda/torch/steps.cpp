// What stands around the UNet: its input, guidance with the scheduler's step, skip connections, pixels in and out.
#include <ATen/core/List.h>

#include "optimized/ops/cuda/concat_channels.h"
#include "optimized/ops/cuda/guided_step.h"
#include "optimized/ops/cuda/pixels.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "optimized/ops/cuda/unet_input.h"

namespace i2i::cuda_ops {

void concat_channels(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) {
  const Rows x = rows_of(a, "concat_channels a"), z = rows_of(b, "concat_channels b"),
             y = rows_of(out, "concat_channels out");
  TORCH_CHECK(
      x.count == y.count && z.count == y.count && x.width + z.width == y.width && x.type == y.type && z.type == y.type,
      "concat_channels: ", a.sizes(), " and ", b.sizes(), " to ", out.sizes());
  check_launched(cuda::concat_channels({x.data, z.data, y.data, y.type, y.count, x.width, z.width}, stream()),
                 "concat_channels");
}

void unet_input(const at::Tensor& latents, const OptionalTensor& condition, double scale, const at::Tensor& out) {
  const Rows y = rows_of(out, "unet_input out");
  cuda::UNetInput call{};
  call.images = static_cast<int>(latents.size(0));
  call.channels = static_cast<int>(latents.size(1));
  call.pixels = static_cast<int>(latents.size(2) * latents.size(3));
  call.latents = floats_of(latents, latents.numel(), "unet_input latents");
  call.extra = y.width - call.channels;
  call.conditions = condition.has_value() ? static_cast<int>(condition->size(0)) : 1;
  call.condition =
      floats_of(condition, std::int64_t{call.conditions} * call.extra * call.pixels, "unet_input condition");
  TORCH_CHECK(y.per_image() == call.pixels, "unet_input: ", latents.sizes(), " to ", out.sizes());
  call.scale = static_cast<float>(scale);
  call.out = y.data;
  call.type = y.type;
  call.rows = y.images;
  check_launched(cuda::unet_input(call, stream()), "unet_input");
}

void guided_step(const at::Tensor& noise_pred, const at::Tensor& sample, const OptionalTensor& noise,
                 const c10::List<OptionalTensor>& history, const at::Tensor& row, const at::Tensor& prev_sample,
                 const OptionalTensor& remembered, const OptionalTensor& guided) {
  const std::int64_t count = sample.numel(), rows = noise_pred.numel() / count;
  TORCH_CHECK(noise_pred.numel() == rows * count && history.size() <= 3, "guided_step: noise_pred ", noise_pred.sizes(),
              " for sample ", sample.sizes(), ", ", history.size(), " histories");
  static_assert(sizeof(cuda::GuidedStepRow) == ops::kGuidedStepScalars * sizeof(float));
  cuda::GuidedStep call{};
  if (noise_pred.is_contiguous()) {
    const Rows flat = rows_of(noise_pred.view({rows, count}), "guided_step noise_pred");
    call.noise_pred = flat.data;
    call.noise_pred_type = flat.type;
  } else {
    const Rows pixels = rows_of(noise_pred, "guided_step noise_pred");
    call.noise_pred = pixels.data;
    call.noise_pred_type = pixels.type;
    call.channels = pixels.width;
    call.pixels = pixels.per_image();
  }
  call.guidance_rows = static_cast<int>(rows);
  call.sample = floats_of(sample, count, "guided_step sample");
  call.noise = floats_of(noise, count, "guided_step noise");
  for (std::size_t k = 0; k < history.size(); ++k)
    call.history[k] = floats_of(history.get(k), count, "guided_step history");
  call.row = reinterpret_cast<const cuda::GuidedStepRow*>(floats_of(row, ops::kGuidedStepScalars, "guided_step row"));
  call.prev_sample = floats_of(prev_sample, count, "guided_step prev_sample");
  call.remembered = floats_of(remembered, count, "guided_step remembered");
  call.count = count;
  call.guided = floats_of(guided, count, "guided_step guided");
  call.images = static_cast<int>(sample.size(0));
  check_launched(cuda::guided_step(call, stream()), "guided_step");
}

void pixels_to_sample(const at::Tensor& rgb, const at::Tensor& out) {
  const Rows y = rows_of(out, "pixels_to_sample out");
  TORCH_CHECK(rgb.scalar_type() == at::kByte && rgb.is_contiguous() && rgb.numel() == y.count * y.width,
              "pixels_to_sample: ", rgb.sizes(), " to ", out.sizes());
  check_launched(cuda::pixels_to_sample(static_cast<const std::uint8_t*>(rgb.const_data_ptr()), y.data, y.type,
                                        rgb.numel(), stream()),
                 "pixels_to_sample");
}

void sample_to_pixels(const at::Tensor& sample, const at::Tensor& out) {
  const Rows x = rows_of(sample, "sample_to_pixels sample");
  check_launched(cuda::sample_to_pixels(x.data, x.type, floats_of(out, x.count * x.width, "sample_to_pixels out"),
                                        nullptr, x.count * x.width, stream()),
                 "sample_to_pixels");
}

}  // namespace i2i::cuda_ops
