// Convolution in bfloat16 where every pixel is rounded once: conv2d.cpp hands pictures over that fit.
#pragma once

#include "optimized/ops/cpu/product.h"

namespace i2i::cpu {

/// The window and the picture, NHWC, that it moves over.
struct Bf16Picture {
  const float* x = nullptr;
  std::int64_t images = 0, in_height = 0, in_width = 0, channels = 0;
  std::int64_t height = 0, width = 0;  ///< of the output
  std::int64_t kernel = 0, stride = 1, pad_before = 0;
  bool upsample = false;  ///< twofold

  /// Whole steps of channels, whole tiles in each row of the output.
  bool fits() const;
};

/// @param product  what becomes of the sums, with bfloat16 weights of kernel * kernel segments
void convolve_bf16(const Product& product, const Bf16Picture& picture);

}  // namespace i2i::cpu
