// The plain C++ face of attention.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = softmax(query key^T / sqrt(head_size)) value for each image and head, never holding the scores in memory
/// (Dao 2023, arXiv:2307.08691). Head h of a token is at its elements [h * head_size, (h + 1) * head_size). Pointers
/// and strides are multiples of 16 bytes.
struct Attention {
  const void* query;  ///< [images, queries, query_stride], its first heads * head_size columns
  const void* key;    ///< [conditions, keys, key_value_stride], likewise
  const void* value;  ///< the same, usually the columns after the keys
  void* out;          ///< [images, queries, heads * head_size]
  ElementType type;   ///< kFloat16 or kBFloat16; sums in fp32
  int query_stride;   ///< elements from one token to the next; tokens * stride is below 2^31
  int key_value_stride;
  int images;
  int conditions;  ///< image n reads keys and values of condition n * conditions / images
  int queries;
  int keys;  ///< at least 1
  int heads;
  int head_size;  ///< 32, 40, 64, 80, 128 or 160
  bool causal;    ///< query i sees keys 0 .. i
};

/// The qkv [images, tokens, 3 * heads * head_size] of self attention, as an Attention.
Attention self_attention_of(const void* qkv, void* out, ElementType type, int images, int tokens, int heads,
                            int head_size, bool causal);

/// @return the launch's error; cudaErrorInvalidValue for a type, a head size or an alignment that no kernel has
cudaError_t attention(const Attention& attention, cudaStream_t stream);

}  // namespace i2i::cuda
