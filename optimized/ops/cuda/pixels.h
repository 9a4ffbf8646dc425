// The plain C++ face of pixels.cuh.
#pragma once

#include <driver_types.h>

#include <cstdint>

#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda {

/// sample = 2 * (pixel / 255) - 1 in fp32, rounded to `type`; semantics.md section 2. Both are [..., H, W, 3] in
/// memory, so that only their number of elements matters.
cudaError_t pixels_to_sample(const std::uint8_t* pixels, void* sample, ElementType type, std::int64_t count,
                             cudaStream_t stream);

/// image = clamp(sample / 2 + 1/2, 0, 1) in fp32, and byte = 255 * image rounded half to even; semantics.md section 11.
/// Either output may be null. A NaN stays NaN in the image, and is 0 among the bytes.
cudaError_t sample_to_pixels(const void* sample, ElementType type, float* image, std::uint8_t* bytes,
                             std::int64_t count, cudaStream_t stream);

}  // namespace i2i::cuda
