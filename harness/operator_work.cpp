#include "harness/operator_work.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <iterator>

#include "optimized/ops.h"

namespace i2i {
namespace {

using Inputs = c10::ArrayRef<c10::IValue>;

double elements(const at::Tensor& tensor) { return static_cast<double>(tensor.numel()); }

/// Everything that a call is given, read or written once.
double bytes_of(Inputs inputs) {
  double bytes = 0;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined()) bytes += static_cast<double>(tensor.nbytes());
  };
  for (const c10::IValue& input : inputs) {
    if (input.isTensor()) add(input.toTensor());
    if (input.isTensorList()) {
      for (const at::Tensor& tensor : input.toTensorVector()) add(tensor);
    }
  }
  return bytes;
}

/// Of images and tokens alike: [N,C,H,W] or [N,T,C].
std::int64_t channels_of(const at::Tensor& x) { return x.dim() == 4 ? x.size(1) : x.size(-1); }

double rows_of(const at::Tensor& x) { return elements(x) / static_cast<double>(channels_of(x)); }

// Operators of our own: outputs are the last tensors they are given.

double linear(Inputs in) {  // input, weight, bias, residual, activation, out
  constexpr std::int64_t kGeglu = 4;
  const double out = static_cast<double>(channels_of(in[5].toTensor())) * (in[4].toInt() == kGeglu ? 2 : 1);
  return 2 * elements(in[0].toTensor()) * out;
}

double conv2d(Inputs in) {  // input, weight, bias, residual, kernel, stride, pad_before, upsample, out
  const double taps = static_cast<double>(in[4].toInt() * in[4].toInt());
  return 2 * elements(in[8].toTensor()) * taps * static_cast<double>(channels_of(in[0].toTensor()));
}

double conv2d_winograd(Inputs in) {  // input, weight, bias, residual, upsample, out
  return 2 * elements(in[5].toTensor()) * 9 * static_cast<double>(channels_of(in[0].toTensor()));
}

/// Products left by F(4x4, 3x3) or F(6x6, 3x3): 36 for each 4 x 4 tile begun in place of 144, or 64 in place of 324; 25
/// or 49 where the picture is enlarged.
double winograd_products(Inputs in) {
  const at::Tensor& out = in[5].toTensor();
  const int side = ops::winograd_outputs(out.size(2), out.size(3));
  const std::int64_t tiles = out.size(0) * ops::tiles_of(out.size(2), side) * ops::tiles_of(out.size(3), side);
  const std::int64_t across = side + (in[4].toBool() ? 1 : 2), planes = across * across;  // some vanish on enlarging
  return 2 * static_cast<double>(planes * tiles * out.size(1) * channels_of(in[0].toTensor()));
}

double self_attention(Inputs in) {  // qkv, heads, causal, out
  const at::Tensor& out = in[3].toTensor();
  const double tokens = rows_of(out) / static_cast<double>(out.size(0));
  const double keys = in[2].toBool() ? (tokens + 1) / 2 : tokens;  // on average
  return 4 * elements(out) * keys;
}

// In bytes: the formula is that of the operator in float32, the method another.

/// Products left by F(2x2, 3x3): 16 for each 2 x 2 tile begun, in place of 36.
double winograd_int8_products(Inputs in) {
  const at::Tensor& out = in[5].toTensor();
  const auto tiles = static_cast<double>(out.size(0) * ((out.size(2) + 1) / 2) * ((out.size(3) + 1) / 2));
  return 2 * 16 * tiles * static_cast<double>(out.size(1) * channels_of(in[0].toTensor()));
}

double self_attention_in_full(Inputs in) {  // qkv, heads, out
  const at::Tensor& out = in[2].toTensor();
  return 4 * elements(out) * rows_of(out) / static_cast<double>(out.size(0));
}

/// Weights and values are words, and a product of words takes the place of two of bytes.
double self_attention_int8_products(Inputs in) { return 1.5 * self_attention_in_full(in); }

double cross_attention(Inputs in) {  // query, key_value, keys, heads, out
  return 4 * elements(in[4].toTensor()) * static_cast<double>(in[2].toInt());
}

double nothing(Inputs) { return 0; }

// libtorch's: outputs are not among what they are given.

double aten_linear(Inputs in) {  // input, weight [O,I], bias
  return 2 * elements(in[0].toTensor()) * static_cast<double>(in[1].toTensor().size(0));
}

double aten_addmm(Inputs in) {  // bias, a [N,K], b [K,M]
  return 2 * elements(in[1].toTensor()) * static_cast<double>(in[2].toTensor().size(1));
}

double aten_matmul(Inputs in) {  // a [...,N,K], b [...,K,M] with a's batch
  return 2 * elements(in[0].toTensor()) * static_cast<double>(in[1].toTensor().size(-1));
}

double aten_attention(Inputs in) {  // query, key, value [...,T,D], mask, dropout, causal
  const double keys = static_cast<double>(in[1].toTensor().size(-2));
  return 4 * elements(in[0].toTensor()) * (in[5].toBool() ? (keys + 1) / 2 : keys);
}

double aten_conv2d(Inputs in) {  // input, weight [O,I,k,k], bias, stride, padding, dilation 1, groups 1
  const at::Tensor &x = in[0].toTensor(), &weight = in[1].toTensor();
  const auto stride = in[3].toIntVector(), padding = in[4].toIntVector();
  double pixels = static_cast<double>(x.size(0));
  for (std::size_t d = 0; d < 2; ++d) {
    const auto axis = static_cast<std::int64_t>(d) + 2;
    const std::int64_t step = stride[std::min(d, stride.size() - 1)], pad = padding[std::min(d, padding.size() - 1)];
    pixels *= static_cast<double>((x.size(axis) + 2 * pad - weight.size(axis)) / step + 1);
  }
  return 2 * pixels * elements(weight);
}

double rows_by_weight(Inputs in) {
  return elements(in[0].toTensor()) / static_cast<double>(in[0].toTensor().size(-1)) *
         static_cast<double>(in[1].toTensor().size(0));
}
double rows_by_columns(Inputs in) {
  return elements(in[0].toTensor()) / static_cast<double>(in[0].toTensor().size(-1)) *
         static_cast<double>(in[1].toTensor().size(-1));
}
double addmm_sum(Inputs in) { return rows_by_columns(in.slice(1)); }
double convolved(Inputs in) {
  const at::Tensor& weight = in[1].toTensor();
  return aten_conv2d(in) / (2 * elements(weight)) * static_cast<double>(weight.size(0));
}
double like_first(Inputs in) { return elements(in[0].toTensor()); }

struct Operator {
  std::string_view name;
  const char* kind;
  double (*flops)(Inputs);                 ///< null: not known
  double (*executed)(Inputs) = nullptr;    ///< where the method does less than the formula
  double (*returned)(Inputs) = nullptr;    ///< elements that the call writes to memory it was not given
  Operands operands = Operands::kFloat32;  ///< unless its weight is bfloat16
};

constexpr const char *kLinear = "linear", *kConvolution = "convolution", *kAttention = "attention",
                     *kNormalization = "normalization", *kOther = "other";

constexpr Operator kOperators[] = {
    {"i2i::linear", kLinear, linear},
    {"i2i::linear_int8", kLinear, linear, nullptr, nullptr, Operands::kInt8},
    {"i2i::conv2d", kConvolution, conv2d},
    {"i2i::conv2d_int8", kConvolution, conv2d, nullptr, nullptr, Operands::kInt8},
    {"i2i::conv2d_winograd", kConvolution, conv2d_winograd, winograd_products},
    {"i2i::conv2d_winograd_int8", kConvolution, conv2d_winograd, winograd_int8_products, nullptr, Operands::kInt8},
    {"i2i::self_attention", kAttention, self_attention},
    {"i2i::self_attention_bf16", kAttention, self_attention_in_full, nullptr, nullptr, Operands::kBf16},
    {"i2i::self_attention_int8", kAttention, self_attention_in_full, self_attention_int8_products, nullptr,
     Operands::kInt8},
    {"i2i::cross_attention", kAttention, cross_attention},
    {"i2i::pack_key_value", kAttention, nullptr},
    {"i2i::group_norm_silu", kNormalization, nothing},
    {"i2i::layer_norm", kNormalization, nothing},
    {"i2i::concat_channels", kOther, nothing},
    {"i2i::unet_input", kOther, nothing},
    {"i2i::guided_step", kOther, nothing},
    {"i2i::pixels_to_sample", kOther, nothing},
    {"i2i::sample_to_pixels", kOther, nothing},
    {"aten::linear", kLinear, aten_linear, nullptr, rows_by_weight},
    {"aten::addmm", kLinear, aten_addmm, nullptr, addmm_sum},
    {"aten::matmul", kLinear, aten_matmul, nullptr, rows_by_columns},
    {"aten::bmm", kLinear, aten_matmul, nullptr, rows_by_columns},
    {"aten::conv2d", kConvolution, aten_conv2d, nullptr, convolved},
    {"aten::convolution", kConvolution, nullptr},
    {"aten::scaled_dot_product_attention", kAttention, aten_attention, nullptr, like_first},
    {"aten::softmax", kAttention, nullptr},
    {"aten::group_norm", kNormalization, nothing, nullptr, like_first},
    {"aten::layer_norm", kNormalization, nothing, nullptr, like_first},
    {"aten::silu", kOther, nothing, nullptr, like_first},
};

const Operator* find(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kOperators), std::end(kOperators), [&](const Operator& one) { return one.name == name; });
  return found == std::end(kOperators) ? nullptr : found;
}

}  // namespace

std::string operator_kind(std::string_view name) {
  const Operator* found = find(name);
  return found == nullptr ? kOther : found->kind;
}

OperatorWork work_of(std::string_view name, Inputs inputs) {
  const Operator* found = find(name);
  if (found == nullptr || found->flops == nullptr) return {};
  OperatorWork work;
  work.flops = found->flops(inputs);
  work.executed_flops = found->executed != nullptr ? found->executed(inputs) : work.flops;
  work.bytes = bytes_of(inputs);
  if (found->returned != nullptr)
    work.bytes += found->returned(inputs) * static_cast<double>(inputs[0].toTensor().element_size());
  const bool bf16_weight =
      inputs.size() > 1 && inputs[1].isTensor() && inputs[1].toTensor().scalar_type() == at::kBFloat16;
  work.operands = bf16_weight ? Operands::kBf16 : found->operands;
  return work;
}

}  // namespace i2i
