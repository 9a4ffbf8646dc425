// Sinusoidal embeddings. Grid: rows; a thread makes the sine and the cosine of one frequency. Runs once per request and
// timestep, before the loop: a few kilobytes. Angles in double: in fp32 a timestep of 999 would leave them four digits.
#pragma once

#include "optimized/ops/cuda/rows.cuh"
#include "optimized/ops/cuda/timestep_embedding.h"

namespace i2i::cuda {

constexpr int kEmbeddingThreads = 128;

/// sin and cos of an angle of any size, but for what fp32 rounds away: whole quarters of a turn are taken off in
/// double, and what is left, at most pi / 4, loses no digit that a result shows.
I2I_DEVICE void sine_and_cosine(double angle, float* sine, float* cosine) {
  const double half_turns = angle * 0.31830988618379067;
  const double quarters = rint(2 * half_turns);
  float s, c;
  sin_cos_pi(static_cast<float>(half_turns - 0.5 * quarters), &s, &c);
  const auto quadrant = static_cast<unsigned>(static_cast<long long>(quarters)) & 3u;
  *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
  *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

template <typename T>
I2I_GLOBAL __launch_bounds__(kEmbeddingThreads) timestep_embedding_kernel(TimestepEmbedding call) {
  constexpr double kLogOfLongestPeriod = 9.2103403719761836;  // ln 10000
  const int half = call.channels / 2;
  const double timestep = call.timesteps[blockIdx.x];
  T* const out = static_cast<T*>(call.out) + static_cast<std::int64_t>(blockIdx.x) * call.channels;
  T* const sines = out + (call.flip_sin_to_cos ? half : 0);
  T* const cosines = out + (call.flip_sin_to_cos ? 0 : half);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += kEmbeddingThreads) {
    const double exponent = -kLogOfLongestPeriod * i / (half - static_cast<double>(call.freq_shift));
    float sine, cosine;
    sine_and_cosine(timestep * exp(exponent), &sine, &cosine);
    sines[i] = from_float<T>(sine);
    cosines[i] = from_float<T>(cosine);
  }
  if (call.channels % 2 == 1 && threadIdx.x == 0) out[call.channels - 1] = from_float<T>(0.0f);
}

template <typename T>
inline cudaError_t launch_timestep_embedding(const TimestepEmbedding& call, cudaStream_t stream) {
  if (call.rows == 0 || call.channels == 0) return cudaSuccess;
  return launch("timestep_embedding", timestep_embedding_kernel<T>, dim3(static_cast<unsigned>(call.rows)),
                dim3(kEmbeddingThreads), 0, stream, call);
}

}  // namespace i2i::cuda
