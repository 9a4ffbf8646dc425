// The plain C++ face of group_norm_silu.cuh.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// out = act((x - mean) / sqrt(variance + eps) * weight + bias), x = input + added, per image and group of channels;
/// act is SiLU or nothing. Wu & He 2018 (arXiv:1803.08494), with the biased variance.
struct GroupNormSilu {
  const void* input;  ///< [images, pixels, channels] of `type`
  const void* added;  ///< [images, channels] of `type`: the projected time embedding; null for none
  ElementType type;
  const float* weight;  ///< [channels]
  const float* bias;    ///< [channels]
  void* out;            ///< as input; may be input
  float* workspace;     ///< group_norm_silu_workspace_bytes of device memory; null where that is 0
  std::int64_t images;
  std::int64_t pixels;
  int channels;
  int groups;  ///< divides channels
  float eps;
  bool silu;
  /// Shared memory that a block may take, at most 227 KiB on an H100 and 99 KiB on the smallest GPU we serve. Where a
  /// group's slice of the image does not fit, partial sums go through the workspace and the input is read twice.
  std::size_t shared_bytes = 96 * 1024;
  /// Of images with so many pixels or more the partial sums are merged by a kernel of their own, and there are more of
  /// them: else what every block merges again would be long beside its share of the pixels.
  std::int64_t merge_pixels = std::int64_t{1} << 16;
};

/// The workspace that this call needs; 0 where one pass does. Only sizes, type and alignment of the pointers count.
std::size_t group_norm_silu_workspace_bytes(const GroupNormSilu& call);

/// @return the launch's error; cudaErrorInvalidValue where groups does not divide channels, or a missing workspace
cudaError_t group_norm_silu(const GroupNormSilu& call, cudaStream_t stream);

}  // namespace i2i::cuda
