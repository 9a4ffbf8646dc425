// Every Gaussian draw of the action, from torch's CPU generator, in diffusers' order (semantics.md section 7).
// Both implementations draw from this class: noise is an input, not arithmetic.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace i2i {

class TraceSink;

/// kPerImage: image k draws from a generator of its own seeded seed + k (diffusers' list of generators).
/// kBatch: one generator seeded `seed` draws for the whole batch.
enum class NoiseMode { kPerImage, kBatch };

/// Where on a Brownian path a step's noise lies: its increment from level `from` to level `to`, divided by the root of
/// their distance. DPM++ SDE refines one path (Jolicoeur-Martineau et al.'s samplers, in k-diffusion), so that the
/// noise of a step does not depend on how many steps there are.
struct NoiseInterval {
  double from = 0;
  double to = 0;
  double lowest = 0;  ///< the path's ends
  double highest = 0;
  std::optional<std::uint64_t> seed;  ///< of one path for the whole batch; without it the request's seeds
};

/// The interval of DPM++ SDE's step from a level to the next, or only to their middle in log sigma; ends are left open.
/// Levels go through float32 logarithms and back, with torch's own rounding, as in diffusers: the path is rough at
/// every scale, so that one float32 step beside them the noise differs in its fourth digit.
NoiseInterval sde_interval(double sigma, double sigma_next, bool to_middle);

class NoiseSource {
 public:
  /// @param trace  receives "draw.00", "draw.01", ... as drawn; may be null
  NoiseSource(std::uint64_t seed, int batch_size, NoiseMode mode, TraceSink* trace = nullptr);

  /// The VAE posterior's draw: [B,channels,height,width] per image, [1,channels,height,width] in batch form (float32).
  at::Tensor draw_posterior(std::int64_t channels, std::int64_t height, std::int64_t width);

  /// Start noise, or one stochastic step's noise: [B,channels,height,width] float32.
  at::Tensor draw(std::int64_t channels, std::int64_t height, std::int64_t width);

  /// One step's noise from a Brownian path instead of the generators: as `draw`, but the same whenever it is asked for.
  at::Tensor draw_interval(const NoiseInterval& interval, std::int64_t channels, std::int64_t height,
                           std::int64_t width) const;

 private:
  at::Tensor draw_rows(std::int64_t rows, std::int64_t channels, std::int64_t height, std::int64_t width);

  std::uint64_t seed_;
  std::vector<at::Generator> generators_;
  std::int64_t batch_size_;
  TraceSink* trace_;
  int draws_ = 0;
};

}  // namespace i2i
