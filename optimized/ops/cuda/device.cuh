// The only file that knows whether nvcc or the CPU runtime of tests/cuda_on_cpu compiles a kernel: every wrapper of an
// instruction, with its emulated twin. Kernels (.cuh) include it; nothing else does.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(I2I_CUDA_ON_CPU)
#include "tests/cuda_on_cpu/emulated_cuda.h"
#define I2I_DEVICE inline
#define I2I_INSTRUCTION inline __attribute__((noinline))
#define I2I_GLOBAL inline void
// A shared array of a block; the static's address names it.
#define I2I_SHARED(T, name, count)  \
  static const char name##_key = 0; \
  T(&name)[count] = *static_cast<T(*)[count]>(i2i::cuda_on_cpu::static_smem(&name##_key, sizeof(T[count])))
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define I2I_DEVICE __device__ __forceinline__
#define I2I_INSTRUCTION __device__ __forceinline__
#define I2I_GLOBAL __global__ void
#define I2I_SHARED(T, name, count) __shared__ T name[count]
#endif

namespace i2i::cuda {

/// Aligned vector access: one instruction on a GPU, one checked access in the emulation. On a GPU the copy goes through
/// the built-in vector type of that width, since a struct of halves is otherwise copied 32 bits at a time.
#if defined(I2I_CUDA_ON_CPU)
template <typename V>
__attribute__((noinline, no_sanitize("thread"))) V load(const void* address) {
  cuda_on_cpu::vector_access(address, sizeof(V), false, __builtin_return_address(0));
  V value;
  std::memcpy(static_cast<void*>(&value), address, sizeof(V));
  return value;
}
template <typename V>
__attribute__((noinline, no_sanitize("thread"))) void store(void* address, const V& value) {
  cuda_on_cpu::vector_access(address, sizeof(V), true, __builtin_return_address(0));
  std::memcpy(address, static_cast<const void*>(&value), sizeof(V));
}
#else
template <int Bytes>
struct BuiltinVector;
template <>
struct BuiltinVector<4> {
  using Type = unsigned;
};
template <>
struct BuiltinVector<8> {
  using Type = uint2;
};
template <>
struct BuiltinVector<16> {
  using Type = uint4;
};
template <typename V>
I2I_DEVICE V load(const void* address) {
  const auto word = *static_cast<const typename BuiltinVector<sizeof(V)>::Type*>(address);
  V value;
  memcpy(&value, &word, sizeof(V));
  return value;
}
template <typename V>
I2I_DEVICE void store(void* address, const V& value) {
  typename BuiltinVector<sizeof(V)>::Type word;
  memcpy(&word, &value, sizeof(V));
  *static_cast<decltype(word)*>(address) = word;
}
#endif

I2I_DEVICE float to_float(float x) { return x; }
I2I_DEVICE float to_float(__half x) { return __half2float(x); }
I2I_DEVICE float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
I2I_DEVICE T from_float(float x);
template <>
I2I_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
I2I_DEVICE __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
I2I_DEVICE __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// The block's dynamic shared memory, as a struct whose size the launch gave.
template <typename Struct>
I2I_DEVICE Struct& dyn_smem() {
#if defined(I2I_CUDA_ON_CPU)
  return *static_cast<Struct*>(cuda_on_cpu::dynamic_smem());
#else
  extern __shared__ __align__(128) unsigned char dynamic_smem_bytes[];
  return *reinterpret_cast<Struct*>(dynamic_smem_bytes);
#endif
}

/// 2^x; the GPU's is one approximate instruction (error at most 2 ulp, subnormal results become 0).
I2I_DEVICE float fast_exp2(float x) {
#if defined(I2I_CUDA_ON_CPU)
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

/// sin(pi x) and cos(pi x): unlike sinf, without a table in local memory for large arguments.
I2I_DEVICE void sin_cos_pi(float x, float* sine, float* cosine) {
#if defined(I2I_CUDA_ON_CPU)
  constexpr double kPi = 3.14159265358979323846;
  *sine = static_cast<float>(std::sin(kPi * static_cast<double>(x)));
  *cosine = static_cast<float>(std::cos(kPi * static_cast<double>(x)));
#else
  sincospif(x, sine, cosine);
#endif
}

/// Bytes of shared memory that a block may ask for on the current device; 0 where the device cannot be asked.
inline size_t max_block_smem() {
#if defined(I2I_CUDA_ON_CPU)
  return cuda_on_cpu::max_block_smem();
#else
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  return static_cast<size_t>(bytes);
#endif
}

/// Whether a launch asks for its dynamic shared memory first, as it must where that and the kernel's static arrays,
/// which the launch does not know, are more than 48 KiB together.
inline bool asks_for_smem(size_t dynamic_smem_bytes) { return dynamic_smem_bytes > 0; }

/// Starts a kernel; every launch goes through here. @return the launch's own error, not the kernel's
template <typename... Parameters, typename... Arguments>
inline cudaError_t launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          size_t dynamic_smem_bytes, cudaStream_t stream, Arguments... arguments) {
#if defined(I2I_CUDA_ON_CPU)
  (void)stream;
  const bool clean = cuda_on_cpu::launch(name, grid, block, dynamic_smem_bytes, asks_for_smem(dynamic_smem_bytes),
                                         [&] { kernel(static_cast<Parameters>(arguments)...); });
  return clean ? cudaSuccess : cudaErrorLaunchFailure;
#else
  (void)name;
  if (asks_for_smem(dynamic_smem_bytes)) {
    const cudaError_t refused =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(dynamic_smem_bytes));
    if (refused != cudaSuccess) return refused;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_smem_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

}  // namespace i2i::cuda
