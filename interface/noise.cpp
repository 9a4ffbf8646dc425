#include "interface/noise.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include "interface/pipeline.h"

namespace i2i {

NoiseSource::NoiseSource(std::uint64_t seed, int batch_size, NoiseMode mode, TraceSink* trace)
    : batch_size_(batch_size), trace_(trace) {
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
