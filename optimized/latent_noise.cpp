#include "optimized/latent_noise.h"

#include <ATen/ATen.h>

namespace i2i {

LatentNoise::LatentNoise(NoiseSource source, const at::Tensor& latents)
    : source_(std::move(source)),
      channels_(latents.size(1)),
      height_(latents.size(2)),
      width_(latents.size(3)),
      device_(latents.device()) {}

at::Tensor LatentNoise::draw_posterior() { return source_.draw_posterior(channels_, height_, width_).to(device_); }

at::Tensor LatentNoise::draw_start() { return source_.draw(channels_, height_, width_).to(device_); }

at::Tensor LatentNoise::upload(const std::vector<StepRow>& rows) {
  uploaded_.resize(rows.size());
  std::vector<at::Tensor> drawn;
  for (const StepRow& row : rows) {
    if (row.draws_noise) drawn.push_back(draw(row));
  }
  if (drawn.empty()) return {};
  const at::Tensor all = at::stack(drawn).to(device_);
  std::int64_t next = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].draws_noise) uploaded_[i] = all.select(0, next++);
  }
  return all;
}

at::Tensor LatentNoise::of_step(std::size_t i, const StepRow& row) {
  if (!row.draws_noise) return {};
  return uploaded_.empty() ? draw(row).to(device_) : uploaded_[i];
}

at::Tensor LatentNoise::draw(const StepRow& row) {
  return row.path ? source_.draw_interval(*row.path, channels_, height_, width_)
                  : source_.draw(channels_, height_, width_);
}

}  // namespace i2i
