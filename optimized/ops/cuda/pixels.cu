#include "optimized/ops/cuda/pixels.cuh"

namespace i2i::cuda {

cudaError_t pixels_to_sample(const std::uint8_t* pixels, void* sample, ElementType type, std::int64_t count,
                             cudaStream_t stream) {
  return with_element_type(type, [&](auto* element) {
    return launch_pixels_to_sample(pixels, static_cast<decltype(element)>(sample), count, stream);
  });
}

cudaError_t sample_to_pixels(const void* sample, ElementType type, float* image, std::uint8_t* bytes,
                             std::int64_t count, cudaStream_t stream) {
  return with_element_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    return launch_sample_to_pixels(static_cast<const T*>(sample), image, bytes, count, stream);
  });
}

}  // namespace i2i::cuda
