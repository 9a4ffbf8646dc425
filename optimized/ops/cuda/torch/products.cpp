// linear: by cuBLASLt with bias and residual inside, or, with GELU or GEGLU, as a product of ours where that is faster.
// conv2d: one cuDNN graph with bias and residual inside, or cuDNN through libtorch and one kernel of ours after it.
#include <ATen/ATen.h>

#include "optimized/ops.h"
#include "optimized/ops/cuda/conv_epilogue.h"
#include "optimized/ops/cuda/gated_gelu.h"
#include "optimized/ops/cuda/geglu.h"
#include "optimized/ops/cuda/interleave_upsampled.h"
#include "optimized/ops/cuda/linear.h"
#include "optimized/ops/cuda/torch/binding.h"
#include "optimized/ops/cuda/torch/cudnn_convolution.h"

namespace i2i::cuda_ops {
namespace {

/// @return S of a bias [S,O], whose rows serve as many images each; 1 of a bias [O] or none
int rows_of_bias(const OptionalTensor& bias, const Rows& out, const char* name) {
  const int rows = bias.has_value() && bias->dim() == 2 ? static_cast<int>(bias->size(0)) : 1;
  TORCH_CHECK(rows > 0 && out.images % rows == 0, name, ": ", rows, " biases for ", out.images, " images");
  return rows;
}

/// out = input + bias + residual; `input` may be `out`. @param bias  [O] or [S,O]
void epilogue(const at::Tensor& input, const OptionalTensor& bias, const OptionalTensor& residual,
              const at::Tensor& out, const char* name) {
  const Rows x = rows_of(input, name), y = rows_of(out, name);
  TORCH_CHECK(x.count == y.count && x.width == y.width && x.type == y.type, name, ": ", input.sizes(), " to ",
              out.sizes());
  cuda::ConvEpilogue call{};
  call.input = x.data;
  call.bias_rows = rows_of_bias(bias, y, name);
  call.bias = like_rows(bias, x, std::int64_t{call.bias_rows} * x.width, name);
  call.residual = like_rows(residual, x, x.count * x.width, name);
  call.out = y.data;
  call.type = x.type;
  // Rows that share their bias may be cut into images of any size.
  call.images = call.bias_rows > 1 ? y.images : 1;
  call.pixels = x.count / call.images;
  call.channels = x.width;
  if (std::int64_t{call.pixels} * call.channels >= std::int64_t{1} << 31) {
    call.images = y.images;
    call.pixels = y.per_image();
  }
  check_launched(cuda::conv_epilogue(call, stream()), name);
}

/// A product of ours with everything inside. @return whether there is a kernel for the shape
bool fused(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
           const OptionalTensor& residual, ops::Activation activation, const at::Tensor& out) {
  const Rows x = rows_of(input, "linear input"), y = rows_of(out, "linear out");
  cuda::Linear call{};
  call.input = x.data;
  call.weight = like_rows(weight, x, weight.numel(), "linear weight");
  call.bias = like_rows(bias, x, weight.size(0), "linear bias");
  call.residual = like_rows(residual, y, y.count * y.width, "linear residual");
  call.out = y.data;
  call.type = x.type;
  call.rows = static_cast<int>(x.count);
  call.in_channels = x.width;
  call.out_channels = y.width;
  if (activation == ops::kGeglu) return launched(cuda::geglu(call, stream()), "geglu");
  call.activation = static_cast<cuda::Activation>(activation);
  return launched(cuda::linear(call, stream()), "linear");
}

/// GEGLU as a library's product, whose halves then meet. @return whether the kernel takes so many elements
bool split(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias, const at::Tensor& out) {
  const at::Tensor rows = matrix_of(input);
  const at::Tensor both = at::empty({rows.size(0), weight.size(0)}, rows.options());
  library_linear(rows, weight, bias, std::nullopt, both);
  const Rows y = rows_of(out, "geglu out");
  TORCH_CHECK(y.count == rows.size(0) && 2 * std::int64_t{y.width} == weight.size(0), "geglu: ", both.sizes(), " to ",
              out.sizes());
  return launched(cuda::gated_gelu({both.const_data_ptr(), y.data, y.type, y.count, y.width}, stream()), "gated_gelu");
}

/// The same by ATen, for what no kernel has a shape.
at::Tensor plain(const at::Tensor& rows, const at::Tensor& weight, const OptionalTensor& bias,
                 ops::Activation activation) {
  at::Tensor x = product(rows, weight).to(at::kFloat);
  if (bias.has_value()) x = x + *bias;
  if (activation == ops::kSilu) return at::silu(x);
  if (activation == ops::kQuickGelu) return x * at::sigmoid(x * 1.702);
  if (activation == ops::kGelu) return at::gelu(x);
  const auto parts = x.chunk(2, -1);
  return parts[0] * at::gelu(parts[1]);
}

/// What a convolution with equal padding on all sides reads.
struct Padded {
  at::Tensor input;
  std::int64_t padding;
};

/// Zeros above and left, and as many below and right as make `out` (kernel x kernel windows, `stride` apart).
Padded padded(const at::Tensor& input, std::int64_t kernel, std::int64_t stride, std::int64_t before,
              const at::Tensor& out) {
  const std::int64_t below = (out.size(2) - 1) * stride + kernel - input.size(2) - before;
  const std::int64_t right = (out.size(3) - 1) * stride + kernel - input.size(3) - before;
  // A convolution with equal padding leaves out what a stride does not reach.
  const auto same = [&](std::int64_t after) { return after == before || (stride > 1 && after == before - 1); };
  if (same(below) && same(right)) return {input, before};
  return {at::constant_pad_nd(input, {before, right, before, below}), 0};
}

/// x * weight as a cuDNN graph, or by libtorch.
at::Tensor convolved(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t padding) {
  const auto size_of = [&](std::int64_t axis) { return (x.size(axis) + 2 * padding - weight.size(axis)) / stride + 1; };
  const at::Tensor out =
      at::empty({x.size(0), weight.size(0), size_of(2), size_of(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  if (cudnn_convolution(x, weight, std::nullopt, std::nullopt, stride, padding, out)) return out;
  return convolution(x, weight, stride, padding);
}

/// folded_upsample.h: four 2 x 2 convolutions of the small picture, as one with four times the channels; then one
/// kernel interleaves their results and adds bias and residual.
/// @param weight  [4 O,I,2,2], output channels by (dy, dx, o)
void folded_convolution(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                        const OptionalTensor& residual, const at::Tensor& out) {
  const std::int64_t channels = out.size(1), height = input.size(2), width = input.size(3);
  TORCH_CHECK(out.size(2) == 2 * height && out.size(3) == 2 * width && weight.size(0) == 4 * channels,
              "conv2d: folded weight ", weight.sizes(), " for ", input.sizes(), " to ", out.sizes());
  const at::Tensor all = convolved(input, weight, 1, 1);  // [N,4 O,H + 1,W + 1]
  const Rows x = rows_of(all, "folded conv2d"), y = rows_of(out, "conv2d");
  TORCH_CHECK(x.type == y.type, "conv2d: ", all.scalar_type(), " to ", out.scalar_type());
  cuda::InterleaveUpsampled call{};
  call.input = x.data;
  call.bias_rows = rows_of_bias(bias, y, "conv2d");
  call.bias = like_rows(bias, y, std::int64_t{call.bias_rows} * y.width, "conv2d");
  call.residual = like_rows(residual, y, y.count * y.width, "conv2d");
  call.out = y.data;
  call.type = y.type;
  call.images = y.images;
  call.height = static_cast<int>(height);
  call.width = static_cast<int>(width);
  call.channels = y.width;
  check_launched(cuda::interleave_upsampled(call, stream()), "conv2d");
}

}  // namespace

at::Tensor pack_weight(const at::Tensor& weight, bool) {
  return weight.dim() == 4 ? weight.contiguous(at::MemoryFormat::ChannelsLast) : weight.contiguous();
}

void linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out) {
  const auto act = static_cast<ops::Activation>(activation);
  TORCH_CHECK(act >= ops::kNone && act <= ops::kGeglu, "linear: activation ", activation);
  if (act == ops::kNone) {
    const at::Tensor flat_residual = residual.has_value() ? matrix_of(*residual) : at::Tensor();
    library_linear(matrix_of(input), weight, bias, residual.has_value() ? OptionalTensor(flat_residual) : std::nullopt,
                   matrix_of(out));
    return;
  }
  if (act == ops::kGeglu && !residual.has_value() && libraries_win() && split(input, weight, bias, out)) return;
  const bool possible = act != ops::kGeglu || !residual.has_value();
  if (possible && fused(input, weight, bias, residual, act, out)) return;
  count_substitute(act == ops::kGeglu ? "geglu" : "linear with an activation",
                   c10::str(weight.size(1), " to ", weight.size(0), " channels"));
  at::Tensor result = plain(matrix_of(input), weight, bias, act);
  if (residual.has_value()) result = result + matrix_of(*residual);
  matrix_of(out).copy_(result);
}

void conv2d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
            bool upsample, const at::Tensor& out) {
  if (upsample && weight.size(2) == 2) {
    folded_convolution(input, weight, bias, residual, out);
    return;
  }
  const at::Tensor read = upsample ? at::upsample_nearest2d(input, {out.size(2), out.size(3)}) : input;
  const auto [x, padding] = padded(read, kernel, stride, pad_before, out);
  if (cudnn_convolution(x, weight, bias, residual, stride, padding, out)) return;
  epilogue(convolved(x, weight, stride, padding), bias, residual, out, "conv2d");
}

// cuDNN chooses its own algorithm.
void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, bool upsample, const at::Tensor& out) {
  conv2d(input, weight, bias, residual, 3, 1, 1, upsample, out);
}

}  // namespace i2i::cuda_ops
