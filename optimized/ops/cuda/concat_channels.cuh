// Channels of two tensors side by side. Grid: one vector of `out` a thread, blocks of 256. Bytes: each input once, out
// once, in 128-bit accesses where both widths allow. Elements are copied as bits. Answers to optimized/ops.inc's
// concat_channels.
#pragma once

#include "optimized/ops/cuda/concat_channels.h"
#include "optimized/ops/cuda/rows.cuh"

namespace i2i::cuda {

constexpr int kConcatThreads = 256;

/// Widths in vectors of V words.
template <typename Word, int V>
I2I_GLOBAL __launch_bounds__(kConcatThreads)
    concat_channels_kernel(const Word* a, const Word* b, Word* out, unsigned count, unsigned a_width,
                           unsigned b_width) {
  const unsigned i = blockIdx.x * kConcatThreads + threadIdx.x;
  if (i >= count) return;
  const unsigned row = i / (a_width + b_width), column = i % (a_width + b_width);
  const Word* from = column < a_width ? a + (static_cast<std::int64_t>(row) * a_width + column) * V
                                      : b + (static_cast<std::int64_t>(row) * b_width + column - a_width) * V;
  store_elements<Word, V>(out + static_cast<std::int64_t>(i) * V, load_elements<Word, V>(from));
}

template <typename Word>
inline cudaError_t launch_concat_channels(const ConcatChannels& call, cudaStream_t stream) {
  constexpr int kV = kPerVector<Word>;
  const std::int64_t elements = call.rows * (call.a_channels + call.b_channels);
  if (elements == 0) return cudaSuccess;
  if (elements >= std::int64_t{1} << 31) return cudaErrorInvalidValue;
  const auto go = [&](auto kernel, int vector) {
    const auto count = static_cast<unsigned>(elements / vector);
    return launch("concat_channels", kernel, dim3((count + kConcatThreads - 1) / kConcatThreads), dim3(kConcatThreads),
                  0, stream, static_cast<const Word*>(call.a), static_cast<const Word*>(call.b),
                  static_cast<Word*>(call.out), count, static_cast<unsigned>(call.a_channels / vector),
                  static_cast<unsigned>(call.b_channels / vector));
  };
  const bool vectors = call.a_channels % kV == 0 && call.b_channels % kV == 0 && is_aligned(call.a) &&
                       is_aligned(call.b) && is_aligned(call.out);
  return vectors ? go(concat_channels_kernel<Word, kV>, kV) : go(concat_channels_kernel<Word, 1>, 1);
}

}  // namespace i2i::cuda
