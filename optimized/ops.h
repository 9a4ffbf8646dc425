// The optimized implementation's table of contents: one C++ function per fused operator, each a call through the
// dispatcher to whichever backend the tensors live on. What they compute stands in ops.inc. Called by the layers and
// the pipeline; backends take their functions' signatures from here.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace i2i::ops {

using OptionalTensor = std::optional<at::Tensor>;

/// While it lives, this thread's operators are CUDA's, executed on the CPU (optimized/cuda/backend.h), or not.
class EmulatedKernels {
 public:
  explicit EmulatedKernels(bool on);
  ~EmulatedKernels();
  EmulatedKernels(const EmulatedKernels&) = delete;
  EmulatedKernels& operator=(const EmulatedKernels&) = delete;

 private:
  bool before_;
};

/// What `activation` of linear and linear_int8 may be; the numbers are part of the operators' schema.
enum Activation : std::int64_t { kNone = 0, kSilu = 1, kQuickGelu = 2, kGelu = 3, kGeglu = 4 };

at::Tensor pack_weight(const at::Tensor& weight, bool geglu = false);
void linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out);
void conv2d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
            bool upsample, const at::Tensor& out);
/// Tiles of `outputs` that cover a side.
constexpr std::int64_t tiles_of(std::int64_t side, int outputs) { return (side + outputs - 1) / outputs; }
/// The side of the tiles that conv2d_winograd computes a picture by: 4 or 6, whichever leaves fewer products. Larger
/// tiles leave fewer for each pixel, but hang further over the picture's edges.
constexpr int winograd_outputs(std::int64_t height, std::int64_t width) {
  return 64 * tiles_of(height, 6) * tiles_of(width, 6) < 36 * tiles_of(height, 4) * tiles_of(width, 4) ? 6 : 4;
}
void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, bool upsample, const at::Tensor& out);
at::Tensor pack_weight_int8(const at::Tensor& weight, bool geglu = false);
at::Tensor pack_winograd_int8(const at::Tensor& weight);
void linear_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out);
void conv2d_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
                 bool upsample, const at::Tensor& out);
void conv2d_winograd_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, bool upsample, const at::Tensor& out);
void group_norm_silu(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, std::int64_t groups,
                     double eps, bool silu, const at::Tensor& out);
void layer_norm(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, double eps,
                const at::Tensor& out);
void self_attention(const at::Tensor& qkv, std::int64_t heads, bool causal, const at::Tensor& out);
void self_attention_bf16(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out);
void self_attention_int8(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out);
at::Tensor pack_key_value(const at::Tensor& key_value, std::int64_t heads);
void cross_attention(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                     const at::Tensor& out);
void concat_channels(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out);
void unet_input(const at::Tensor& latents, const OptionalTensor& condition, double scale, const at::Tensor& out);
void guided_step(const at::Tensor& noise_pred, const at::Tensor& sample, const OptionalTensor& noise,
                 const c10::List<OptionalTensor>& history, const at::Tensor& row, const at::Tensor& prev_sample,
                 const OptionalTensor& remembered, const OptionalTensor& guided);
/// Scalars of a row of guided_step.
constexpr std::int64_t kGuidedStepScalars = 10;
void pixels_to_sample(const at::Tensor& rgb, const at::Tensor& out);
void sample_to_pixels(const at::Tensor& sample, const at::Tensor& out);

/// {name, schema} of every operator, in ops.inc's order.
const std::vector<std::pair<std::string, std::string>>& all_operators();

}  // namespace i2i::ops
