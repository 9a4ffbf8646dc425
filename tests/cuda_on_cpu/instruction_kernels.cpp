#include "tests/cuda_on_cpu/instruction_kernels.h"

#include "optimized/ops/cuda/device_mma.cuh"

namespace i2i::cuda_on_cpu {

Report async_copy(const unsigned char* input, unsigned char* output, int valid_threads, AsyncCopyFaults faults) {
  return run("async_copy", dim3(1), dim3(64), 1024, [=] {
    auto& staged = cuda::dyn_smem<unsigned char[1024]>();
    const int thread = static_cast<int>(threadIdx.x);
    cuda::cp_async16(staged + 16 * thread, input + 16 * thread + faults.offset, thread < valid_threads);
    cuda::cp_async_commit();
    if (!faults.no_wait) cuda::cp_async_wait<0>();
    if (!faults.no_barrier) __syncthreads();
    const int other = 63 - thread;
    cuda::store(output + 16 * other, cuda::load<uint4>(staged + 16 * other));
  });
}

Report async_groups(const unsigned char* input, unsigned char* output, int left, int reads) {
  return run("async_groups", dim3(1), dim3(1), 64, [=] {
    auto& staged = cuda::dyn_smem<unsigned char[64]>();
    for (int group = 0; group < 4; ++group) {
      cuda::cp_async16(staged + 16 * group, input + 16 * group, true);
      cuda::cp_async_commit();
    }
    if (left == 0) cuda::cp_async_wait<0>();
    if (left == 1) cuda::cp_async_wait<1>();
    if (left == 2) cuda::cp_async_wait<2>();
    cuda::store(output, cuda::load<uint4>(staged + 16 * reads));
  });
}

Report load_matrices(const unsigned short* input, unsigned* output, int matrices, bool transposed, int pitch) {
  return run("load_matrices", dim3(1), dim3(32), 32 * 16 * sizeof(unsigned short), [=] {
    auto& staged = cuda::dyn_smem<unsigned short[32 * 16]>();
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 8 * matrices * pitch; i += 32) staged[i] = input[i];
    __syncthreads();
    const unsigned short* row = staged + lane % (8 * matrices) * pitch;
    unsigned r1 = 0, r2[2] = {}, r4[4] = {};
    if (matrices == 1) cuda::ldmatrix_x1(r1, row);
    if (matrices == 2 && !transposed) cuda::ldmatrix_x2(r2, row);
    if (matrices == 2 && transposed) cuda::ldmatrix_x2_trans(r2, row);
    if (matrices == 4 && !transposed) cuda::ldmatrix_x4(r4, row);
    if (matrices == 4 && transposed) cuda::ldmatrix_x4_trans(r4, row);
    for (int i = 0; i < matrices; ++i)
      output[lane * matrices + i] = matrices == 1 ? r1 : matrices == 2 ? r2[i & 1] : r4[i];
  });
}

template <typename T>
static Report multiply(const unsigned* a, const unsigned* b, const float* c, float* d) {
  return run("multiply", dim3(1), dim3(32), 0, [=] {
    const unsigned lane = threadIdx.x;
    const unsigned fragment[4] = {a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]};
    float sum[4];
    for (unsigned i = 0; i < 4; ++i) sum[i] = c[4 * lane + i];
    cuda::mma_16816<T>(sum, fragment, b[2 * lane], b[2 * lane + 1]);
    for (unsigned i = 0; i < 4; ++i) d[4 * lane + i] = sum[i];
  });
}
Report multiply_half(const unsigned* a, const unsigned* b, const float* c, float* d) {
  return multiply<__half>(a, b, c, d);
}
Report multiply_bfloat(const unsigned* a, const unsigned* b, const float* c, float* d) {
  return multiply<__nv_bfloat16>(a, b, c, d);
}

Report multiply_int8(const unsigned* a, const unsigned* b, const int* c, int* d) {
  return run("multiply_int8", dim3(1), dim3(32), 0, [=] {
    const unsigned lane = threadIdx.x;
    const unsigned fragment[4] = {a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]};
    int sum[4];
    for (unsigned i = 0; i < 4; ++i) sum[i] = c[4 * lane + i];
    cuda::mma_s8_16832(sum, fragment, b[2 * lane], b[2 * lane + 1]);
    for (unsigned i = 0; i < 4; ++i) d[4 * lane + i] = sum[i];
  });
}

Report partial_warp_product(float* d) {
  return run("partial_warp_product", dim3(1), dim3(32), 0, [=] {
    if (threadIdx.x >= 16) return;
    const unsigned a[4] = {};
    float sum[4] = {};
    cuda::mma_16816<__half>(sum, a, 0, 0);
    d[threadIdx.x] = sum[0];
  });
}

Report transpose(const float* input, float* output, int pitch) {
  return run("transpose", dim3(1), dim3(32), 32 * 40 * sizeof(float), [=] {
    auto& staged = cuda::dyn_smem<float[32 * 40]>();
    const int lane = static_cast<int>(threadIdx.x);
    for (int row = 0; row < 32; ++row) staged[row * pitch + lane] = input[row * 32 + lane];
    __syncwarp();
    for (int column = 0; column < 32; ++column) output[column * 32 + lane] = staged[lane * pitch + column];
  });
}

Report strided_copy(const float* input, float* output, int stride) {
  return run("strided_copy", dim3(1), dim3(32), 0, [=] {
    const int lane = static_cast<int>(threadIdx.x);
    output[lane] = input[lane * stride];
  });
}

Report votes(unsigned* output) {
  return run("votes", dim3(1), dim3(32), 0, [=] {
    const unsigned lane = threadIdx.x;
    const unsigned odd = __ballot_sync(0xffffffffu, lane % 2 != 0);
    const int any = __any_sync(0xffffffffu, lane == 7), none = __any_sync(0xffffffffu, lane > 31);
    const int all = __all_sync(0xffffffffu, lane < 32), not_all = __all_sync(0xffffffffu, lane != 3);
    output[lane] = odd == 0xaaaaaaaau && any && !none && all && !not_all ? 1 : 0;
  });
}

Report dynamic_memory(float* output, std::size_t bytes) {
  return run("dynamic_memory", dim3(1), dim3(1), bytes, [=] { *output = 1.0f; });
}

Report dynamic_and_static_memory(float* output, std::size_t bytes, bool asked) {
  const auto kernel = [=] {
    I2I_SHARED(float, array, 1024);
    array[0] = 1.0f;
    *output = array[0];
  };
  return run("dynamic_and_static_memory", dim3(1), dim3(1), bytes, kernel, asked);
}

}  // namespace i2i::cuda_on_cpu
