#include "optimized/latent_noise.h"

#include <ATen/ATen.h>

namespace i2i {

LatentNoise::LatentNoise(NoiseSource source, const Runtime& runtime, const at::Tensor& latents)
    : source_(std::move(source)),
      channels_(latents.size(1)),
      height_(latents.size(2)),
      width_(latents.size(3)),
      runtime_(runtime) {}

at::Tensor LatentNoise::draw_posterior() {
  return runtime_.uploaded(source_.draw_posterior(channels_, height_, width_));
}

at::Tensor LatentNoise::draw_start() { return runtime_.uploaded(source_.draw(channels_, height_, width_)); }

at::Tensor LatentNoise::upload(const std::vector<StepRow>& rows) {
  uploaded_.resize(rows.size());
  std::vector<at::Tensor> drawn;
  for (const StepRow& row : rows) {
    if (row.draws_noise) drawn.push_back(draw(row));
  }
  if (drawn.empty()) return {};
  const at::Tensor all = runtime_.uploaded(at::stack(drawn));
  std::int64_t next = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].draws_noise) uploaded_[i] = all.select(0, next++);
  }
  return all;
}

at::Tensor LatentNoise::of_step(std::size_t i, const StepRow& row) {
  if (!row.draws_noise) return {};
  return uploaded_.empty() ? runtime_.uploaded(draw(row)) : uploaded_[i];
}

at::Tensor LatentNoise::draw(const StepRow& row) {
  return row.path ? source_.draw_interval(*row.path, channels_, height_, width_)
                  : source_.draw(channels_, height_, width_);
}

}  // namespace i2i
