#include "optimized/ops.h"

#include <torch/library.h>

#include "optimized/ops/cpu/register.h"

namespace i2i::ops {
namespace {

TORCH_LIBRARY(i2i, library) {
#define I2I_OP(name, schema) library.def(#name schema);
#define I2I_CPU_OP I2I_OP
#include "optimized/ops.inc"
#undef I2I_OP
#undef I2I_CPU_OP
}

thread_local bool emulated_here = false;

/// An operator's handles, each looked up once: of the library for CPU and CUDA, and of the emulated one, which exists
/// only in programs that link it. Their signature is checked against the schema here.
template <typename Signature>
class Operator {
 public:
  explicit Operator(std::string name) : name_(std::move(name)), handle_(find("i2i::")) { cpu::keep_registered(); }

  template <typename... Arguments>
  auto call(Arguments&&... arguments) const {
    if (!emulated_here) return handle_.call(std::forward<Arguments>(arguments)...);
    if (!emulated_handle_) emulated_handle_ = find("i2i_emulated::");
    return emulated_handle_->call(std::forward<Arguments>(arguments)...);
  }

 private:
  c10::TypedOperatorHandle<Signature> find(const char* library) const {
    return c10::Dispatcher::singleton().findSchemaOrThrow((library + name_).c_str(), "").template typed<Signature>();
  }

  std::string name_;
  c10::TypedOperatorHandle<Signature> handle_;
  mutable std::optional<c10::TypedOperatorHandle<Signature>> emulated_handle_;
};

}  // namespace

EmulatedKernels::EmulatedKernels(bool on) : before_(emulated_here) { emulated_here = on; }
EmulatedKernels::~EmulatedKernels() { emulated_here = before_; }

at::Tensor pack_weight(const at::Tensor& weight, bool geglu) {
  static const Operator<decltype(pack_weight)> op("pack_weight");
  return op.call(weight, geglu);
}

void linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out) {
  static const Operator<decltype(linear)> op("linear");
  op.call(input, weight, bias, residual, activation, out);
}

void conv2d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
            bool upsample, const at::Tensor& out) {
  static const Operator<decltype(conv2d)> op("conv2d");
  op.call(input, weight, bias, residual, kernel, stride, pad_before, upsample, out);
}

void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, bool upsample, const at::Tensor& out) {
  static const Operator<decltype(conv2d_winograd)> op("conv2d_winograd");
  op.call(input, weight, bias, residual, upsample, out);
}

at::Tensor pack_weight_int8(const at::Tensor& weight, bool geglu) {
  static const Operator<decltype(pack_weight_int8)> op("pack_weight_int8");
  return op.call(weight, geglu);
}

at::Tensor pack_winograd_int8(const at::Tensor& weight) {
  static const Operator<decltype(pack_winograd_int8)> op("pack_winograd_int8");
  return op.call(weight);
}

void linear_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out) {
  static const Operator<decltype(linear_int8)> op("linear_int8");
  op.call(input, weight, bias, residual, activation, out);
}

void conv2d_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
                 bool upsample, const at::Tensor& out) {
  static const Operator<decltype(conv2d_int8)> op("conv2d_int8");
  op.call(input, weight, bias, residual, kernel, stride, pad_before, upsample, out);
}

void conv2d_winograd_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, bool upsample, const at::Tensor& out) {
  static const Operator<decltype(conv2d_winograd_int8)> op("conv2d_winograd_int8");
  op.call(input, weight, bias, residual, upsample, out);
}

void group_norm_silu(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, std::int64_t groups,
                     double eps, bool silu, const at::Tensor& out) {
  static const Operator<decltype(group_norm_silu)> op("group_norm_silu");
  op.call(input, weight, bias, groups, eps, silu, out);
}

void layer_norm(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, double eps,
                const at::Tensor& out) {
  static const Operator<decltype(layer_norm)> op("layer_norm");
  op.call(input, weight, bias, eps, out);
}

void self_attention(const at::Tensor& qkv, std::int64_t heads, bool causal, const at::Tensor& out) {
  static const Operator<decltype(self_attention)> op("self_attention");
  op.call(qkv, heads, causal, out);
}

void self_attention_bf16(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  static const Operator<decltype(self_attention_bf16)> op("self_attention_bf16");
  op.call(qkv, heads, out);
}

void self_attention_int8(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  static const Operator<decltype(self_attention_int8)> op("self_attention_int8");
  op.call(qkv, heads, out);
}

at::Tensor pack_key_value(const at::Tensor& key_value, std::int64_t heads) {
  static const Operator<decltype(pack_key_value)> op("pack_key_value");
  return op.call(key_value, heads);
}

void cross_attention(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                     const at::Tensor& out) {
  static const Operator<decltype(cross_attention)> op("cross_attention");
  op.call(query, key_value, keys, heads, out);
}

void concat_channels(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) {
  static const Operator<decltype(concat_channels)> op("concat_channels");
  op.call(a, b, out);
}

void unet_input(const at::Tensor& latents, const OptionalTensor& condition, double scale, const at::Tensor& out) {
  static const Operator<decltype(unet_input)> op("unet_input");
  op.call(latents, condition, scale, out);
}

void guided_step(const at::Tensor& noise_pred, const at::Tensor& sample, const OptionalTensor& noise,
                 const c10::List<OptionalTensor>& history, const at::Tensor& row, const at::Tensor& prev_sample,
                 const OptionalTensor& remembered, const OptionalTensor& guided) {
  static const Operator<decltype(guided_step)> op("guided_step");
  op.call(noise_pred, sample, noise, history, row, prev_sample, remembered, guided);
}

void pixels_to_sample(const at::Tensor& rgb, const at::Tensor& out) {
  static const Operator<decltype(pixels_to_sample)> op("pixels_to_sample");
  op.call(rgb, out);
}

void sample_to_pixels(const at::Tensor& sample, const at::Tensor& out) {
  static const Operator<decltype(sample_to_pixels)> op("sample_to_pixels");
  op.call(sample, out);
}

const std::vector<std::pair<std::string, std::string>>& all_operators() {
  static const std::vector<std::pair<std::string, std::string>> kAll = {
#define I2I_OP(name, schema) {#name, schema},
#define I2I_CPU_OP I2I_OP
#include "optimized/ops.inc"
#undef I2I_OP
#undef I2I_CPU_OP
  };
  return kAll;
}

}  // namespace i2i::ops
