// Every Gaussian draw of the action, from torch's CPU generator, in diffusers' order (semantics.md section 7).
// Both implementations draw from this class: noise is an input, not arithmetic.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace i2i {

class TraceSink;

/// kPerImage: image k draws from a generator of its own seeded seed + k (diffusers' list of generators).
/// kBatch: one generator seeded `seed` draws for the whole batch.
enum class NoiseMode { kPerImage, kBatch };

class NoiseSource {
 public:
  /// @param trace  receives "draw.00", "draw.01", ... as drawn; may be null
  NoiseSource(std::uint64_t seed, int batch_size, NoiseMode mode, TraceSink* trace = nullptr);

  /// The VAE posterior's draw: [B,channels,height,width] per image, [1,channels,height,width] in batch form (float32).
  at::Tensor draw_posterior(std::int64_t channels, std::int64_t height, std::int64_t width);

  /// Start noise, or one stochastic step's noise: [B,channels,height,width] float32.
  at::Tensor draw(std::int64_t channels, std::int64_t height, std::int64_t width);

 private:
  at::Tensor draw_rows(std::int64_t rows, std::int64_t channels, std::int64_t height, std::int64_t width);

  std::vector<at::Generator> generators_;
  std::int64_t batch_size_;
  TraceSink* trace_;
  int draws_ = 0;
};

}  // namespace i2i
