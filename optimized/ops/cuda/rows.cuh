// What the kernels over rows of channels share: 128-bit vectors of elements, SiLU, sums over a warp, and the choice of
// kernel by element type and alignment.
#pragma once

#include "optimized/ops/cuda/device.cuh"
#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

constexpr int kWarp = 32;

template <typename T, int Count>
struct alignas(Count * sizeof(T)) VectorOf {
  T value[Count];
};

/// Elements of one 128-bit access.
template <typename T>
constexpr int kPerVector = 16 / static_cast<int>(sizeof(T));

/// `Count` elements as they lie in memory: one access where there are several.
template <typename T, int Count>
I2I_DEVICE VectorOf<T, Count> load_elements(const T* from) {
  if constexpr (Count == 1) {
    return {*from};
  } else {
    return load<VectorOf<T, Count>>(from);
  }
}
template <typename T, int Count>
I2I_DEVICE void store_elements(T* to, const VectorOf<T, Count>& elements) {
  if constexpr (Count == 1) {
    *to = elements.value[0];
  } else {
    store(to, elements);
  }
}

/// `Count` elements as floats; a vector wider than 128 bits is read in pieces of that size.
template <typename T, int Count>
I2I_DEVICE void load_floats(float (&values)[Count], const T* from) {
  constexpr int kPiece = Count < kPerVector<T> ? Count : kPerVector<T>;
#pragma unroll
  for (int first = 0; first < Count; first += kPiece) {
    const auto piece = load_elements<T, kPiece>(from + first);
#pragma unroll
    for (int e = 0; e < kPiece; ++e) values[first + e] = to_float(piece.value[e]);
  }
}
template <typename T, int Count>
I2I_DEVICE void store_floats(T* to, const float (&values)[Count]) {
  constexpr int kPiece = Count < kPerVector<T> ? Count : kPerVector<T>;
#pragma unroll
  for (int first = 0; first < Count; first += kPiece) {
    VectorOf<T, kPiece> piece;
#pragma unroll
    for (int e = 0; e < kPiece; ++e) piece.value[e] = from_float<T>(values[first + e]);
    store_elements<T, kPiece>(to + first, piece);
  }
}

/// x * sigmoid(x). For 16-bit results the exponential and the quotient are the approximate instructions: their errors
/// of a few 2^-23 vanish in the rounding.
template <typename T>
I2I_DEVICE float silu(float x) {
  if constexpr (sizeof(T) == 4) return x / (1.0f + expf(-x));
  constexpr float kLog2E = 1.44269504f;
  return __fdividef(x, 1.0f + fast_exp2(-kLog2E * x));
}

/// The sum over all 32 lanes, in every lane; the whole warp calls it.
I2I_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

/// The sum over a block of `Warps` warps, in every thread; the whole block calls it.
template <int Warps>
I2I_DEVICE float block_sum(float x) {
  I2I_SHARED(float, of_warp, Warps);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  x = warp_sum(x);
  __syncthreads();  // an earlier call's sums may still be being read
  if (lane == 0) of_warp[threadIdx.x / kWarp] = x;
  __syncthreads();
  return warp_sum(lane < Warps ? of_warp[lane] : 0.0f);
}

inline bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

/// Calls `run` with a null pointer to the C++ type that `type` names.
template <typename Run>
inline cudaError_t with_element_type(ElementType type, const Run& run) {
  switch (type) {
    case ElementType::kFloat32:
      return run(static_cast<float*>(nullptr));
    case ElementType::kFloat16:
      return run(static_cast<__half*>(nullptr));
    case ElementType::kBFloat16:
      return run(static_cast<__nv_bfloat16*>(nullptr));
  }
  return cudaErrorInvalidValue;
}

}  // namespace i2i::cuda
