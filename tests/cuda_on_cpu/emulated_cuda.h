// The part of CUDA that our kernels use, for g++. Included by optimized/ops/cuda/device.cuh only, and only in tests.
// Types and half arithmetic are NVIDIA's own headers; everything that needs a GPU goes to the runtime.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <driver_types.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

// The names are CUDA's own, reserved or not.
// NOLINTBEGIN(bugprone-reserved-identifier)
#define __launch_bounds__(...)

namespace i2i::cuda_on_cpu {

struct ThreadView {
  uint3 thread;
  uint3 block;
  dim3 block_dim;
  dim3 grid_dim;
};
const ThreadView& view();

enum class BarrierKind { kPlain, kAnd, kOr, kCount };
int barrier(BarrierKind kind, int predicate, const void* site);
void warp_barrier(unsigned mask, const void* site);
/// Every lane of `mask` publishes `operand`; the value of lane `source` of each lane comes back.
std::uint64_t shuffle(const char* operation, unsigned mask, std::uint64_t operand, int source_lane, const void* site);
unsigned ballot(unsigned mask, int predicate, const void* site);
int lane_index();
void* dynamic_smem();
void* static_smem(const void* key, std::size_t bytes);
void vector_access(const void* address, std::size_t bytes, bool write, const void* site);
void atomic_access(void* address, std::size_t bytes, const void* site);
/// Shared memory's copy of `bytes` at `from`; zeros where it is not valid.
void cp_async(void* to, const void* from, unsigned bytes, bool valid, const void* site);
void cp_async_commit();
void cp_async_wait(unsigned groups_left, const void* site);
/// `matrices` is 1, 2 or 4: as many 8 x 8 matrices of 16-bit elements, a register each.
void ldmatrix(unsigned* registers, const void* row, unsigned matrices, bool transposed, const void* site);
void mma_16816(float* d, const unsigned* a, const unsigned* b, bool bfloat, const void* site);
void mma_s8_16832(int* d, const unsigned* a, const unsigned* b, const void* site);
std::size_t max_block_smem();
/// @param asked  for the dynamic shared memory; without, it and static arrays get 48 KiB together
bool launch(const char* name, dim3 grid, dim3 block, std::size_t smem, bool asked, const std::function<void()>& body);

template <typename T>
T shuffle_value(const char* operation, unsigned mask, T value, int source_lane, const void* site) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(operation, mask, bits, source_lane, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace i2i::cuda_on_cpu

#define threadIdx (i2i::cuda_on_cpu::view().thread)
#define blockIdx (i2i::cuda_on_cpu::view().block)
#define blockDim (i2i::cuda_on_cpu::view().block_dim)
#define gridDim (i2i::cuda_on_cpu::view().grid_dim)

// Not inlined, so that the return address tells one call site from another. Clang must also be told not to make two
// sites of one, as in `if (a) b(); barrier();` where the barrier could follow each way.
#ifdef __clang__
#define I2I_EMULATED inline __attribute__((noinline, noduplicate))
#else
#define I2I_EMULATED inline __attribute__((noinline))
#endif
#define I2I_SITE __builtin_return_address(0)

I2I_EMULATED void __syncthreads() { i2i::cuda_on_cpu::barrier(i2i::cuda_on_cpu::BarrierKind::kPlain, 0, I2I_SITE); }
I2I_EMULATED int __syncthreads_or(int p) {
  return i2i::cuda_on_cpu::barrier(i2i::cuda_on_cpu::BarrierKind::kOr, p, I2I_SITE);
}
I2I_EMULATED int __syncthreads_and(int p) {
  return i2i::cuda_on_cpu::barrier(i2i::cuda_on_cpu::BarrierKind::kAnd, p, I2I_SITE);
}
I2I_EMULATED int __syncthreads_count(int p) {
  return i2i::cuda_on_cpu::barrier(i2i::cuda_on_cpu::BarrierKind::kCount, p, I2I_SITE);
}
I2I_EMULATED void __syncwarp(unsigned mask = 0xffffffffu) { i2i::cuda_on_cpu::warp_barrier(mask, I2I_SITE); }

template <typename T>
I2I_EMULATED T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return i2i::cuda_on_cpu::shuffle_value("__shfl_xor_sync", mask, value, i2i::cuda_on_cpu::lane_index() ^ lanes,
                                         I2I_SITE);
}
template <typename T>
I2I_EMULATED T __shfl_sync(unsigned mask, T value, int source) {
  return i2i::cuda_on_cpu::shuffle_value("__shfl_sync", mask, value, source & 31, I2I_SITE);
}
template <typename T>
I2I_EMULATED T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
  const int lane = i2i::cuda_on_cpu::lane_index();
  const int source = lane + static_cast<int>(delta) < 32 ? lane + static_cast<int>(delta) : lane;
  return i2i::cuda_on_cpu::shuffle_value("__shfl_down_sync", mask, value, source, I2I_SITE);
}
I2I_EMULATED unsigned __ballot_sync(unsigned mask, int p) { return i2i::cuda_on_cpu::ballot(mask, p, I2I_SITE); }
I2I_EMULATED int __any_sync(unsigned mask, int p) { return i2i::cuda_on_cpu::ballot(mask, p, I2I_SITE) != 0; }
I2I_EMULATED int __all_sync(unsigned mask, int p) { return i2i::cuda_on_cpu::ballot(mask, p, I2I_SITE) == mask; }

// Its own read and write are one access, reported above: not to be seen a second time as two plain ones.
template <typename T>
__attribute__((no_sanitize("thread"))) I2I_EMULATED T atomicAdd(T* address, T value) {
  i2i::cuda_on_cpu::atomic_access(address, sizeof(T), I2I_SITE);
  const T old = *address;
  *address = old + value;
  return old;
}

// The approximate instructions are computed exactly here; a GPU differs in the last bits.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
// NOLINTEND(bugprone-reserved-identifier)
