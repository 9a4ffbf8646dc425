// Small kernels with one fault each, to see that the runtime finds it, and their clean twins, to see that it is silent.
#pragma once

#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda_on_cpu {

/// Sums 64 floats in one block through shared memory. `barrier` false leaves out the barrier before the sum.
Report block_sum(const float* input, float* output, bool barrier);
/// Sums 32 floats of one warp by shuffles. `mask` is what every lane passes; lanes at and above `lanes` leave early.
Report warp_sum(const float* input, float* output, unsigned mask, unsigned lanes);
/// Copies `count` floats with blocks of 32 threads; reads `beyond` elements past the end, or skips the last `skip`.
Report copy(const float* input, float* output, int count, int beyond, int skip);
/// Two blocks write one element, or, with `atomic`, add to it.
Report two_blocks_one_element(float* output, bool atomic);
/// A 16-byte load from an address `offset` floats into the input.
Report vector_copy(const float* input, float* output, int offset);
/// Half of the threads wait at one barrier, the others at another.
Report divergent_barriers(float* output);
/// Threads above the first 32 return before the barrier.
Report exit_before_barrier(float* output);
/// Reads a shared array that no thread of the block wrote.
Report unwritten_shared(float* output);
/// A scalar store to element `index` of a shared array of 64 floats, and of a local one of 8, through a pointer; a
/// compiler that knows the array's size sees nothing.
Report store_to_shared(float* output, int index);
Report store_to_local(float* output, int index);
/// The same store, by the array's own name.
Report store_by_name(float* output, int index);
/// Lanes exchange through shared memory, with or without __syncwarp.
Report warp_exchange(float* output, bool synchronised);

}  // namespace i2i::cuda_on_cpu
