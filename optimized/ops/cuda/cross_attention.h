// The plain C++ face of cross_attention.cuh.
#pragma once

#include "optimized/ops/cuda/attention.h"

namespace i2i::cuda {

/// Attention of image tokens to a prompt's: query [images, queries, heads * head_size], key_value
/// [conditions, keys, 2 * heads * head_size] (keys, then values), computed once per prompt. Image n reads condition
/// n * conditions / images.
Attention cross_attention_of(const void* query, const void* key_value, void* out, ElementType type, int images,
                             int conditions, int queries, int keys, int heads, int head_size);

/// Holds all keys and values of a head in shared memory where they fit in what every GPU since sm_80 gives a block
/// (99 KiB) and the head is not larger than 128; elsewhere attention() does the same in tiles. @return as attention()
/// does
cudaError_t cross_attention(const Attention& attention, cudaStream_t stream);

}  // namespace i2i::cuda
