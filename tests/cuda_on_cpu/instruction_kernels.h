// One small kernel per instruction of device_mma.cuh, for its test; faulty where an argument says so.
#pragma once

#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda_on_cpu {

/// 64 threads copy 1024 bytes through shared memory by cp.async; 16 bytes of every `keep`-th thread's copy are valid.
struct AsyncCopyFaults {
  bool no_wait = false;     ///< leaves the copies in flight
  bool no_barrier = false;  ///< reads what other threads copied, without a barrier
  int offset = 0;           ///< bytes that the source is moved by
};
Report async_copy(const unsigned char* input, unsigned char* output, int valid_threads, AsyncCopyFaults faults = {});
/// Commits `groups` groups of one copy each and waits for all but `left`; thread 0 then reads group `reads`.
Report async_groups(const unsigned char* input, unsigned char* output, int left, int reads);

/// `matrices` 8 x 8 matrices of 16-bit elements, loaded by ldmatrix from rows `pitch` elements apart; what every lane
/// gets is written to output[lane * matrices + register].
Report load_matrices(const unsigned short* input, unsigned* output, int matrices, bool transposed, int pitch);

/// One product of the whole warp. Fragments as lanes hold them: a[32][4], b[32][2], c and d [32][4].
Report multiply_half(const unsigned* a, const unsigned* b, const float* c, float* d);
Report multiply_bfloat(const unsigned* a, const unsigned* b, const float* c, float* d);
Report multiply_int8(const unsigned* a, const unsigned* b, const int* c, int* d);
/// A product that only half of the warp reaches.
Report partial_warp_product(float* d);

/// A warp writes and reads a 32 x 32 array of floats in shared memory, by columns, rows `pitch` floats apart.
Report transpose(const float* input, float* output, int pitch);
/// A warp copies 32 floats that lie `stride` floats apart.
Report strided_copy(const float* input, float* output, int stride);
/// Some lanes vote.
Report votes(unsigned* output);
/// dynamic shared memory of `bytes` bytes is asked for
Report dynamic_memory(float* output, std::size_t bytes);
/// The same beside a static array of 4096 bytes. @param asked  whether the launch asked for the dynamic memory
Report dynamic_and_static_memory(float* output, std::size_t bytes, bool asked);

}  // namespace i2i::cuda_on_cpu
