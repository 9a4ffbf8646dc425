#include "tests/cuda_on_cpu/faulty_kernels.h"

#include "optimized/ops/cuda/device.cuh"

namespace i2i::cuda_on_cpu {

Report block_sum(const float* input, float* output, bool barrier) {
  return run("block_sum", dim3(1), dim3(64), 0, [=] {
    I2I_SHARED(float, staged, 64);
    staged[threadIdx.x] = input[threadIdx.x];
    if (barrier) __syncthreads();
    if (threadIdx.x == 0) {
      float sum = 0;
      for (int i = 0; i < 64; ++i) sum += staged[i];
      *output = sum;
    }
  });
}

Report warp_sum(const float* input, float* output, unsigned mask, unsigned lanes) {
  return run("warp_sum", dim3(1), dim3(32), 0, [=] {
    if (threadIdx.x >= lanes) return;
    float sum = input[threadIdx.x];
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(mask, sum, distance);
    if (threadIdx.x == 0) *output = sum;
  });
}

Report copy(const float* input, float* output, int count, int beyond, int skip) {
  return run("copy", dim3(static_cast<unsigned>(count + 31) / 32), dim3(32), 0, [=] {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count - skip) output[i] = input[i + beyond];
  });
}

Report two_blocks_one_element(float* output, bool atomic) {
  return run("two_blocks_one_element", dim3(2), dim3(1), 0, [=] {
    if (atomic) {
      atomicAdd(output, 1.0f);
    } else {
      *output = 1.0f;
    }
  });
}

Report vector_copy(const float* input, float* output, int offset) {
  return run("vector_copy", dim3(1), dim3(1), 0, [=] { cuda::store(output, cuda::load<float4>(input + offset)); });
}

Report divergent_barriers(float* output) {
  return run("divergent_barriers", dim3(1), dim3(64), 0, [=] {
    if (threadIdx.x < 32) {
      __syncthreads();
    } else {
      output[threadIdx.x] = 1.0f;
      __syncthreads();
    }
  });
}

Report exit_before_barrier(float* output) {
  return run("exit_before_barrier", dim3(1), dim3(64), 0, [=] {
    if (threadIdx.x >= 32) return;
    __syncthreads();
    output[threadIdx.x] = 1.0f;
  });
}

Report unwritten_shared(float* output) {
  return run("unwritten_shared", dim3(1), dim3(32), 0, [=] {
    I2I_SHARED(float, staged, 32);
    output[threadIdx.x] = staged[threadIdx.x];
  });
}

Report store_to_shared(float* output, int index) {
  return run("store_to_shared", dim3(1), dim3(1), 0, [=] {
    I2I_SHARED(float, staged, 64);
    float* const first = staged;
    for (int i = 0; i < 64; ++i) first[i] = 0;
    first[index] = 1;
    *output = first[0];
  });
}

Report store_to_local(float* output, int index) {
  return run("store_to_local", dim3(1), dim3(1), 0, [=] {
    float own[8] = {};
    float* volatile first = own;  // so that the array stays in memory
    first[index] = 1;
    *output = first[0];
  });
}

Report store_by_name(float* output, int index) {
  return run("store_by_name", dim3(1), dim3(1), 0, [=] {
    I2I_SHARED(float, staged, 64);
    staged[0] = 0;
    staged[index] = 1;
    *output = staged[0];
  });
}

Report warp_exchange(float* output, bool synchronised) {
  return run("warp_exchange", dim3(1), dim3(32), 0, [=] {
    I2I_SHARED(float, staged, 32);
    staged[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (synchronised) __syncwarp();
    output[threadIdx.x] = staged[threadIdx.x ^ 1u];
  });
}

}  // namespace i2i::cuda_on_cpu
