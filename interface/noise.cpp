#include "interface/noise.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "interface/brownian_tree.h"
#include "interface/pipeline.h"

namespace i2i {

NoiseSource::NoiseSource(std::uint64_t seed, int batch_size, NoiseMode mode, TraceSink* trace)
    : seed_(seed), batch_size_(batch_size), trace_(trace) {
  const int generators = mode == NoiseMode::kPerImage ? batch_size : 1;
  for (int k = 0; k < generators; ++k)
    generators_.push_back(at::make_generator<at::CPUGeneratorImpl>(seed + static_cast<std::uint64_t>(k)));
}

at::Tensor NoiseSource::draw_posterior(std::int64_t channels, std::int64_t height, std::int64_t width) {
  return draw_rows(static_cast<std::int64_t>(generators_.size()), channels, height, width);
}

at::Tensor NoiseSource::draw(std::int64_t channels, std::int64_t height, std::int64_t width) {
  return draw_rows(batch_size_, channels, height, width);
}

NoiseInterval sde_interval(double sigma, double sigma_next, bool to_middle) {
  // In float32, each function rounded once: a path is rough, and asked a unit in the last place beside it gives other
  // noise.
  const auto t_of = [](double level) {
    return -static_cast<float>(std::log(static_cast<double>(static_cast<float>(level))));
  };
  const auto level_of = [](float t) { return static_cast<float>(std::exp(-static_cast<double>(t))); };
  const float t = t_of(sigma), t_next = t_of(sigma_next);
  NoiseInterval interval;
  interval.from = level_of(t);
  interval.to = level_of(to_middle ? t + (t_next - t) * 0.5F : t_next);
  return interval;
}

at::Tensor NoiseSource::draw_interval(const NoiseInterval& interval, std::int64_t channels, std::int64_t height,
                                      std::int64_t width) const {
  const double low = std::min(interval.from, interval.to), high = std::max(interval.from, interval.to);
  const bool per_image = !interval.seed && generators_.size() > 1;
  const std::int64_t rows = per_image ? 1 : batch_size_;
  std::vector<at::Tensor> images;
  for (std::size_t k = 0; k < (per_image ? generators_.size() : 1); ++k) {
    const BrownianTree tree(interval.seed.value_or(seed_ + k), interval.lowest, interval.highest,
                            {rows, channels, height, width});
    images.push_back(tree.increment(low, high));
  }
  // Levels fall, so the path is walked backwards; the distance is taken in float32, as the levels are.
  const float distance = static_cast<float>(high) - static_cast<float>(low);
  return (interval.from > interval.to ? -1 : 1) * at::cat(images) / std::sqrt(distance);
}

at::Tensor NoiseSource::draw_rows(std::int64_t rows, std::int64_t channels, std::int64_t height, std::int64_t width) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(at::kCPU);
  at::Tensor noise;
  if (generators_.size() == 1) {
    noise = at::randn({rows, channels, height, width}, generators_.front(), options);
  } else {
    std::vector<at::Tensor> images;
    for (const at::Generator& generator : generators_)
      images.push_back(at::randn({1, channels, height, width}, generator, options));
    noise = at::cat(images);
  }
  if (trace_ != nullptr) trace_->tensor(fmt::format("draw.{:02}", draws_), -1, noise);
  ++draws_;
  return noise;
}

}  // namespace i2i
