// Convolution as a product whose row pointers are shifted pixels (no im2col buffer): one segment per tap of the window.
// Padding points at zeros, stride and nearest-neighbour upsampling only change which pixel a pointer names. In
// bfloat16 (where conv2d_bf16.cpp does not take over) and in bytes the same pointers say what to gather and round.
#include "optimized/ops/cpu/bf16_product.h"
#include "optimized/ops/cpu/conv2d_bf16.h"
#include "optimized/ops/cpu/int8_product.h"
#include "optimized/ops/cpu/product.h"
#include "optimized/ops/cpu/register.h"

namespace i2i::cpu {
namespace {

/// For each output position and tap the input position that it reads, -1 for padding.
std::vector<std::int64_t> taps_of_axis(std::int64_t out, std::int64_t in, std::int64_t kernel, std::int64_t stride,
                                       std::int64_t pad_before, bool upsample) {
  const std::int64_t virtual_in = upsample ? out : in;
  std::vector<std::int64_t> taps;
  taps.reserve(static_cast<std::size_t>(out * kernel));
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t k = 0; k < kernel; ++k) {
      const std::int64_t at = o * stride + k - pad_before;
      const bool inside = at >= 0 && at < virtual_in;
      taps.push_back(!inside ? -1 : upsample ? at * in / out : at);
    }
  }
  return taps;
}

/// @param run  run(product, fill): run_product_of_any_type or run_int8_product
template <typename Run>
void convolve(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
              const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
              bool upsample, const at::Tensor& out, const Run& run) {
  const Rows x = rows_of(input, "conv2d input"), y = rows_of(out, "conv2d out");
  const std::int64_t images = out.size(0), height = out.size(2), width = out.size(3);
  const std::int64_t in_height = input.size(2), in_width = input.size(3), channels = x.width;
  TORCH_CHECK(input.size(0) == images, "conv2d: ", input.sizes(), " to ", out.sizes());
  TORCH_CHECK(!upsample || stride == 1, "conv2d: upsampling with stride ", stride);

  Product product;
  product.rows = y.count;
  product.segments = kernel * kernel;
  product.depth = channels;
  product.packed = &weight;
  product.columns = y.width;
  if (bias.has_value()) {
    const std::int64_t sets = bias->numel() / y.width;
    product.finish.bias = optional_floats(bias, sets * y.width, "conv2d bias");
    TORCH_CHECK(sets >= 1 && images % sets == 0, "conv2d: ", sets, " rows of bias for ", images, " images");
    if (sets > 1) {
      product.finish.bias_stride = y.width;
      product.finish.rows_per_bias = images / sets * height * width;
    }
  }
  if (residual.has_value()) {
    TORCH_CHECK(residual->sizes() == out.sizes(), "conv2d: residual ", residual->sizes(), " for out ", out.sizes());
    product.finish.residual = rows_of(*residual, "conv2d residual").data;
  }
  product.finish.out = y.data;
  product.finish.out_stride = y.width;

  if (kernel == 1 && stride == 1 && !upsample) {
    run(product, [&](std::int64_t first, std::int64_t count, const float** pointers) {
      for (std::int64_t i = 0; i < count; ++i) pointers[i] = x.data + (first + i) * channels;
    });
    return;
  }
  if (weight.scalar_type() == at::kBFloat16 && (!upsample || (height == 2 * in_height && width == 2 * in_width))) {
    const Bf16Picture picture{x.data, images, in_height, in_width,   channels, height,
                              width,  kernel, stride,    pad_before, upsample};
    if (picture.fits()) return convolve_bf16(product, picture);
  }
  static const std::vector<float> kZeros(1 << 15);
  TORCH_CHECK(channels <= static_cast<std::int64_t>(kZeros.size()), "conv2d: ", channels, " channels");
  const auto y_taps = taps_of_axis(height, in_height, kernel, stride, pad_before, upsample);
  const auto x_taps = taps_of_axis(width, in_width, kernel, stride, pad_before, upsample);
  run(product, [&](std::int64_t first, std::int64_t count, const float** pointers) {
    std::int64_t ox = first % width, oy = first / width % height, image = first / (width * height);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* base = x.data + image * in_height * in_width * channels;
      const float** pointer = pointers + i;
      for (std::int64_t ky = 0; ky < kernel; ++ky) {
        const std::int64_t iy = y_taps[static_cast<std::size_t>(oy * kernel + ky)];
        for (std::int64_t kx = 0; kx < kernel; ++kx, pointer += count) {
          const std::int64_t ix = x_taps[static_cast<std::size_t>(ox * kernel + kx)];
          *pointer = iy < 0 || ix < 0 ? kZeros.data() : base + (iy * in_width + ix) * channels;
        }
      }
      if (++ox == width) {
        ox = 0;
        if (++oy == height) {
          oy = 0;
          ++image;
        }
      }
    }
  });
}

}  // namespace

void conv2d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
            bool upsample, const at::Tensor& out) {
  convolve(input, weight, bias, residual, kernel, stride, pad_before, upsample, out,
           [](const Product& product, const auto& fill) { run_product_of_any_type(product, fill); });
}

void conv2d_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
                 bool upsample, const at::Tensor& out) {
  convolve(input, weight, bias, residual, kernel, stride, pad_before, upsample, out,
           [](const Product& product, const auto& fill) { run_int8_product(product, fill); });
}

}  // namespace i2i::cpu
