// Tensor cores and what feeds them, one wrapper per instruction (sm_80 and newer): cp.async, ldmatrix, mma.sync. Like
// device.cuh, it may know which compiler reads it; kernels do not.
#pragma once

#include "optimized/ops/cuda/device.cuh"

namespace i2i::cuda {

#if !defined(I2I_CUDA_ON_CPU)
I2I_DEVICE unsigned smem_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

/// Copies 16 bytes from global to shared memory in the background; where not `valid`, zeros arrive and nothing is read.
I2I_INSTRUCTION void cp_async16(void* to, const void* from, bool valid) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::cp_async(to, from, 16, valid, I2I_SITE);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(smem_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
#endif
}

/// Closes a group: the copies since the last commit.
I2I_INSTRUCTION void cp_async_commit() {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/// Waits until at most `GroupsLeft` of this thread's youngest groups are under way. Others see the bytes after a
/// barrier.
template <int GroupsLeft>
I2I_INSTRUCTION void cp_async_wait() {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::cp_async_wait(GroupsLeft, I2I_SITE);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(GroupsLeft) : "memory");
#endif
}

/// Four 8 x 8 matrices of 16-bit elements; lane 8m + i brings the address of row i of matrix m.
I2I_INSTRUCTION void ldmatrix_x4(unsigned (&r)[4], const void* row) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::ldmatrix(r, row, 4, false, I2I_SITE);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_address(row))
               : "memory");
#endif
}

/// The same, each matrix transposed on its way.
I2I_INSTRUCTION void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::ldmatrix(r, row, 4, true, I2I_SITE);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_address(row))
               : "memory");
#endif
}

/// Two matrices; the addresses of lanes 16 to 31 are not used.
I2I_INSTRUCTION void ldmatrix_x2(unsigned (&r)[2], const void* row) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::ldmatrix(r, row, 2, false, I2I_SITE);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_address(row))
               : "memory");
#endif
}
I2I_INSTRUCTION void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::ldmatrix(r, row, 2, true, I2I_SITE);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_address(row))
               : "memory");
#endif
}

/// One matrix; the addresses of lanes 8 to 31 are not used.
I2I_INSTRUCTION void ldmatrix_x1(unsigned& r, const void* row) {
#if defined(I2I_CUDA_ON_CPU)
  cuda_on_cpu::ldmatrix(&r, row, 1, false, I2I_SITE);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];\n" : "=r"(r) : "r"(smem_address(row)) : "memory");
#endif
}

/// d[16 x 8, fp32] += a[16 x 16] b[16 x 8], with T __half or __nv_bfloat16.
template <typename T>
I2I_INSTRUCTION void mma_16816(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if defined(I2I_CUDA_ON_CPU)
  const unsigned b[2] = {b0, b1};
  cuda_on_cpu::mma_16816(d, a, b, std::is_same_v<T, __nv_bfloat16>, I2I_SITE);
#else
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

/// d[16 x 8, int32] += a[16 x 32, int8] b[32 x 8, int8].
I2I_INSTRUCTION void mma_s8_16832(int (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if defined(I2I_CUDA_ON_CPU)
  const unsigned b[2] = {b0, b1};
  cuda_on_cpu::mma_s8_16832(d, a, b, I2I_SITE);
#else
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/// Two values rounded to T, the first in the lower half, as fragments hold them.
template <typename T>
I2I_DEVICE unsigned pack2(float low, float high) {
  unsigned word;
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    memcpy(&word, static_cast<const void*>(&pair), sizeof(word));
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    memcpy(&word, static_cast<const void*>(&pair), sizeof(word));
  }
  return word;
}

/// Where 16-byte chunk `chunk` of row `row` lies in a tile of `Chunks` chunks a row: the eight rows that ldmatrix reads
/// at one chunk, and eight neighbouring chunks of a row, are then in different banks, without padding. Rows that are an
/// odd multiple of 2^s chunks apart repeat their banks after 8 / 2^s rows; the lowest s bits of the chunk take up the
/// rest.
template <int Chunks>
I2I_DEVICE int swizzled(int row, int chunk) {
  constexpr int kShift = Chunks % 8 == 0 ? 3 : Chunks % 4 == 0 ? 2 : Chunks % 2 == 0 ? 1 : 0;
  return row * Chunks + (chunk ^ (row >> (3 - kShift) & ((1 << kShift) - 1)));
}

}  // namespace i2i::cuda
