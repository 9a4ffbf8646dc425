// The CPU backend's functions, one per line of ops.inc, and the anchor that keeps their registration in the program.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>

#include <optional>

namespace i2i::cpu {

using OptionalTensor = std::optional<at::Tensor>;

/// Does nothing; a static library's registration survives linking only where something refers to its object file.
void keep_registered();

at::Tensor pack_weight(const at::Tensor& weight, bool geglu);
void linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t activation, const at::Tensor& out);
void conv2d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& residual, std::int64_t kernel, std::int64_t stride, std::int64_t pad_before,
            bool upsample, const at::Tensor& out);
void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, bool upsample, const at::Tensor& out);
at::Tensor pack_weight_int8(const at::Tensor& weight, bool geglu);
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
void self_attention_int8(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out);
at::Tensor pack_key_value(const at::Tensor& key_value, std::int64_t heads);
void cross_attention(const at::Tensor& query, const at::Tensor& key_value, std::int64_t keys, std::int64_t heads,
                     const at::Tensor& out);
void concat_channels(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out);
void unet_input(const at::Tensor& latents, const OptionalTensor& condition, double scale, const at::Tensor& out);
void guided_step(const at::Tensor& noise_pred, const at::Tensor& sample, const OptionalTensor& noise,
                 const c10::List<OptionalTensor>& history, const at::Tensor& row, double guidance_scale,
                 double image_guidance_scale, const at::Tensor& prev_sample, const OptionalTensor& remembered,
                 const OptionalTensor& guided);
void pixels_to_sample(const at::Tensor& rgb, const at::Tensor& out);
void sample_to_pixels(const at::Tensor& sample, const at::Tensor& out);

}  // namespace i2i::cpu
