#include "optimized/image_codec.h"

#include <ATen/ATen.h>

#include "interface/source_image.h"

namespace i2i {

ImageCodec::ImageCodec(Runtimes& runtimes, const Model& model)
    : runtime_(&runtimes.vae()),
      config_(model.config.vae),
      conditions_(model.config.takes_source_as_condition()),
      scales_condition_(model.config.is_cosxl_edit),
      vae_(runtimes.vae(), runtimes.exact(), model.config.vae, model.vae_weights) {}

at::Tensor ImageCodec::preprocess(const Image& source, int width, int height) const {
  Image resized;
  const bool fits = source.width == width && source.height == height;
  if (!fits) resized = resize_lanczos(source, width, height);
  const Image& image = fits ? source : resized;
  const at::Tensor rgb =
      runtime_->uploaded(at::from_blob(const_cast<std::uint8_t*>(image.rgb.data()), {height, width, 3}, at::kByte));
  if (!runtime_->features.fused_pixels) {
    const at::Tensor sample = 2.0 * (rgb.to(at::kFloat) / 255.0).permute({2, 0, 1}).unsqueeze(0) - 1.0;
    return settled(*runtime_, sample.to(runtime_->activation));
  }
  at::Tensor sample = runtime_->buffers.image(1, 3, height, width);
  ops::pixels_to_sample(rgb, sample);
  return settled(*runtime_, sample);
}

Encoded ImageCodec::encode(const at::Tensor& pixels) const {
  const auto moments = vae_.encode(pixels).to(at::kFloat).contiguous().chunk(2, 1);
  return {moments[0].contiguous(), moments[1].clamp(-30.0, 20.0)};
}

at::Tensor ImageCodec::scaled_sample(const Encoded& encoded, const at::Tensor& draw) const {
  const at::Tensor sample = encoded.mean + at::exp(0.5 * encoded.logvar) * draw;
  if (!has_statistics()) return sample * config_.scaling_factor;
  return (sample - per_channel(config_.latents_mean)) * config_.scaling_factor / per_channel(config_.latents_std);
}

at::Tensor ImageCodec::condition(const Encoded& encoded, GuidanceMode mode) const {
  if (!conditions_) return {};
  const at::Tensor latents = scales_condition_ ? encoded.mean * config_.scaling_factor : encoded.mean;
  if (mode == GuidanceMode::kNone) return latents;
  return at::cat({latents, latents, at::zeros_like(latents)});
}

at::Tensor ImageCodec::unscaled(const at::Tensor& latents) const {
  if (!has_statistics()) return latents / config_.scaling_factor;
  return latents * per_channel(config_.latents_std) / config_.scaling_factor + per_channel(config_.latents_mean);
}

at::Tensor ImageCodec::decode(const at::Tensor& latents) const {
  return vae_.decode(settled(*runtime_, latents.to(runtime_->activation)));
}

at::Tensor ImageCodec::postprocess(const at::Tensor& sample) const {
  if (!runtime_->features.fused_pixels)
    return runtime_->downloaded((sample.to(at::kFloat) * 0.5 + 0.5).clamp(0.0, 1.0).permute({0, 2, 3, 1}).contiguous());
  at::Tensor images =
      at::empty({sample.size(0), sample.size(2), sample.size(3), sample.size(1)}, sample.options().dtype(at::kFloat));
  ops::sample_to_pixels(sample.contiguous(at::MemoryFormat::ChannelsLast), images);
  return runtime_->downloaded(images);
}

/// Whether latents are scaled channel by channel.
bool ImageCodec::has_statistics() const { return !config_.latents_mean.empty() && !config_.latents_std.empty(); }

at::Tensor ImageCodec::per_channel(const std::vector<double>& values) const {
  return runtime_->uploaded(at::tensor(values, at::kFloat)).view({1, -1, 1, 1});
}

}  // namespace i2i
