// GroupNorm (with SiLU) and LayerNorm over channels-last memory. Sums run over differences from the first element, and
// are gathered in double: a large mean with a small variance loses nothing to cancellation.
#include <cmath>

#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// Sums of d and d^2 per channel, d = x - (x at the image's first pixel), for `Vectors` vectors of channels.
template <int Vectors>
void channel_sums(const GroupNormBlock& block, std::int64_t channel, double* sums, double* squares) {
  constexpr std::int64_t kRun = 128;  // pixels summed in float before going to double
  const float* x = block.x + channel;
  Vector origin[Vectors];
  for (int v = 0; v < Vectors; ++v) origin[v] = load(block.origin + channel + v * kWidth);
  for (std::int64_t first = 0; first < block.pixels; first += kRun) {
    const std::int64_t end = block.pixels - first < kRun ? block.pixels : first + kRun;
    Vector sum[Vectors] = {}, square[Vectors] = {};
    for (std::int64_t p = first; p < end; ++p) {
      const float* pixel = x + p * block.stride;
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const Vector d = load(pixel + v * kWidth) - origin[v];
        sum[v] += d;
        square[v] += d * d;
      }
    }
    for (int v = 0; v < Vectors; ++v) {
      for (std::int64_t i = 0; i < kWidth; ++i) {
        sums[v * kWidth + i] += static_cast<double>(sum[v][i]);
        squares[v * kWidth + i] += static_cast<double>(square[v][i]);
      }
    }
  }
}

void one_channel_sums(const GroupNormBlock& block, std::int64_t channel, double* sum, double* square) {
  const float origin = block.origin[channel];
  for (std::int64_t p = 0; p < block.pixels; ++p) {
    const double d = static_cast<double>(block.x[p * block.stride + channel] - origin);
    *sum += d;
    *square += d * d;
  }
}

template <bool with_silu>
void normalise(const GroupNormBlock& block) {
  const float *centre = block.factors, *scale = centre + block.channels, *shift = scale + block.channels;
  const std::int64_t whole = block.channels / kWidth * kWidth, left = block.channels - whole;
  for (std::int64_t p = 0; p < block.pixels; ++p) {
    const float* x = block.x + p * block.stride;
    float* y = block.y + p * block.stride;
    for (std::int64_t c = 0; c < whole; c += kWidth) {
      Vector value = (load(x + c) - load(centre + c)) * load(scale + c) + load(shift + c);
      if constexpr (with_silu) value = silu(value);
      store(y + c, value);
    }
    if (left > 0) {
      const Vector d = load_some(x + whole, left) - load_some(centre + whole, left);
      Vector value = d * load_some(scale + whole, left) + load_some(shift + whole, left);
      if constexpr (with_silu) value = silu(value);
      store_some(y + whole, value, left);
    }
  }
}

}  // namespace

void group_norm_sums(const GroupNormBlock& block) {
  double *sums = block.sums, *squares = sums + block.channels;
  for (std::int64_t c = 0; c < 2 * block.channels; ++c) sums[c] = 0;
  std::int64_t channel = 0;
  for (; channel + 4 * kWidth <= block.channels; channel += 4 * kWidth) {
    channel_sums<4>(block, channel, sums + channel, squares + channel);
  }
  for (; channel + kWidth <= block.channels; channel += kWidth) {
    channel_sums<1>(block, channel, sums + channel, squares + channel);
  }
  for (; channel < block.channels; ++channel) one_channel_sums(block, channel, sums + channel, squares + channel);
}

void group_norm_factors(const GroupNormBlock& block) {
  double *means = block.sums, *variances = means + block.channels;  // so far the sums
  const double pixels = static_cast<double>(block.pixels), per_group = static_cast<double>(block.channels_per_group);
  float *centre = block.factors, *scale = centre + block.channels, *shift = scale + block.channels;
  for (std::int64_t first = 0; first < block.channels; first += block.channels_per_group) {
    const std::int64_t end = first + block.channels_per_group;
    double mean = 0, variance = 0;
    for (std::int64_t c = first; c < end; ++c) {
      const double difference = means[c] / pixels;
      variances[c] = variances[c] / pixels - difference * difference;
      means[c] = static_cast<double>(block.origin[c]) + difference;
      mean += means[c] / per_group;
    }
    for (std::int64_t c = first; c < end; ++c) {
      variance += (variances[c] + (means[c] - mean) * (means[c] - mean)) / per_group;
    }
    const double inverse = 1.0 / std::sqrt((variance > 0 ? variance : 0) + block.eps);
    for (std::int64_t c = first; c < end; ++c) {
      const double weight = static_cast<double>(block.weight[c]) * inverse;
      // Subtracting a rounded mean first and its rounding later keeps the digits that x * scale + shift would lose.
      centre[c] = static_cast<float>(mean);
      scale[c] = static_cast<float>(weight);
      shift[c] =
          static_cast<float>(static_cast<double>(block.bias[c]) + (static_cast<double>(centre[c]) - mean) * weight);
    }
  }
}

void group_norm_normalise(const GroupNormBlock& block) {
  block.silu ? normalise<true>(block) : normalise<false>(block);
}

void layer_norm(const float* x, float* y, std::int64_t rows, std::int64_t width, const float* weight, const float* bias,
                double eps) {
  const std::int64_t whole = width / kWidth * kWidth, left = width - whole;
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const Vector origin = splat(x[0]);
    Vector sum{};
    for (std::int64_t j = 0; j < whole; j += kWidth) sum += load(x + j) - origin;
    double total = sum_lanes_double(sum);
    for (std::int64_t j = whole; j < width; ++j) total += static_cast<double>(x[j] - x[0]);
    const double offset = total / static_cast<double>(width);  // mean - x[0]
    const Vector relative_mean = splat(static_cast<float>(offset));
    Vector square{};
    for (std::int64_t j = 0; j < whole; j += kWidth) {
      const Vector d = (load(x + j) - origin) - relative_mean;
      square += d * d;
    }
    double squares = sum_lanes_double(square);
    for (std::int64_t j = whole; j < width; ++j) {
      const double d = static_cast<double>(x[j] - x[0]) - offset;
      squares += d * d;
    }
    const Vector inverse = splat(static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(width) + eps)));
    for (std::int64_t j = 0; j < whole; j += kWidth) {
      store(y + j, ((load(x + j) - origin) - relative_mean) * inverse * load(weight + j) + load(bias + j));
    }
    if (left > 0) {
      const Vector d = ((load_some(x + whole, left) - origin) - relative_mean) * inverse;
      store_some(y + whole, d * load_some(weight + whole, left) + load_some(bias + whole, left), left);
    }
  }
}

}  // namespace i2i::cpu::I2I_ISA
