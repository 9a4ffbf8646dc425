// The layers that text encoder, UNet and VAE are written from. Each holds checkpoint weights and their packed form, and
// runs either its fused operator (ops.h) or, with the feature off, the plain ATen formula that the operator must equal.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "interface/model_files.h"
#include "optimized/buffers.h"
#include "optimized/features.h"
#include "optimized/int8_layers.h"
#include "optimized/ops.h"

namespace i2i {

class CudaBackend;

/// What all layers of one pipeline share.
struct Runtime {
  Features features;
  Buffers buffers;
  at::ScalarType dtype = at::kFloat;       ///< of the products in UNet and VAE
  at::ScalarType activation = at::kFloat;  ///< of everything between them
  at::Device device = at::kCPU;
  Int8Layers* int8 = nullptr;        ///< null: no layer runs in int8
  CudaBackend* transfers = nullptr;  ///< copies from and to the host that do not hold it up; null: plain ones

  /// The CPU: whatever the products' type, everything between them is float32.
  Runtime(const Features& chosen, at::ScalarType product_dtype)
      : features(chosen), buffers(chosen.reused_buffers), dtype(product_dtype) {}
  /// CUDA's kernels, or their emulation: one type for products and activations.
  Runtime(const Features& chosen, at::ScalarType type, at::Device where)
      : features(chosen), buffers(chosen.reused_buffers, type, where), dtype(type), activation(type), device(where) {}

  bool runs_cuda_kernels() const { return activation != at::kFloat; }

  /// What the host has made, on the device.
  at::Tensor uploaded(const at::Tensor& host) const;
  /// What the device has made, on the host, which waits for it.
  at::Tensor downloaded(const at::Tensor& tensor) const;

  /// Products round what they multiply to a narrower type than what is between them.
  bool rounds_products() const { return dtype != activation; }

  /// A bias, or a weight that stays as precise as what is between products, where and as operators read it.
  at::Tensor placed(const at::Tensor& weight) const {
    return weight.defined() ? weight.to(device, activation) : weight;
  }
  /// The same of a weight that products multiply with.
  at::Tensor placed_for_product(const at::Tensor& weight) const { return weight.to(device, dtype); }
};

/// A checkpoint under a prefix. `get("conv.weight")` is float32 whatever the file holds, and on the device.
class WeightReader {
 public:
  explicit WeightReader(const Weights& weights, std::string prefix = "", at::Device device = at::kCPU)
      : weights_(&weights), prefix_(std::move(prefix)), device_(device) {}

  WeightReader operator/(const std::string& name) const {
    return WeightReader(*weights_, prefix_ + name + ".", device_);
  }
  bool has(const std::string& name) const { return weights_->count(prefix_ + name) > 0; }
  /// The layer's own name: the prefix without its last dot.
  std::string name() const { return prefix_.substr(0, prefix_.size() - 1); }
  at::Tensor get(const std::string& name) const;
  /// Says that all under the prefix is packed: else a model would be in memory twice while its layers are made.
  void release() const;

 private:
  const Weights* weights_;
  std::string prefix_;
  at::Device device_;
};

class Linear {
 public:
  Linear() = default;
  Linear(const Runtime& runtime, const WeightReader& reader, ops::Activation activation = ops::kNone);
  /// Several linear layers of the same input as one: their rows, one below the other.
  /// @param name  of the layer, if int8 may run it
  Linear(const Runtime& runtime, const at::Tensor& weight, const at::Tensor& bias,
         ops::Activation activation = ops::kNone, const std::string& name = "");

  /// act(x weight^T + bias) + residual. x: [N,C,H,W] or [N,T,C]; the result has the same form.
  at::Tensor operator()(Runtime& runtime, const at::Tensor& x,
                        const ops::OptionalTensor& residual = std::nullopt) const;

  bool defined() const { return out_ > 0; }
  std::int64_t out_features() const { return out_; }

 private:
  std::int64_t out_ = 0;  ///< after GEGLU
  ops::Activation activation_ = ops::kNone;
  bool packed_geglu_ = false;
  at::Tensor bias_;
  at::Tensor weight_, packed_;  ///< one of them, the form that is used
  at::Tensor int8_weight_;      ///< used while int8_ is on
  Int8Layers::Layer* int8_ = nullptr;
};

/// How a convolution is used at one place.
struct ConvUse {
  ops::OptionalTensor residual;
  at::Tensor bias_rows;                        ///< [S,O] instead of the layer's bias: bias and time embedding together
  std::int64_t out_height = 0, out_width = 0;  ///< where upsampling targets a size
};

class Conv2d {
 public:
  Conv2d() = default;
  /// @param pad_before  zeros above and left  @param pad_after  below and right
  /// @param upsamples  upsampled() will be called
  Conv2d(const Runtime& runtime, const WeightReader& reader, std::int64_t stride = 1, std::int64_t pad_before = 1,
         std::int64_t pad_after = 1, bool upsamples = false);

  at::Tensor operator()(Runtime& runtime, const at::Tensor& x, const ConvUse& use = {}) const;

  /// Nearest-neighbour enlargement to out_height x out_width, then this convolution.
  at::Tensor upsampled(Runtime& runtime, const at::Tensor& x, std::int64_t out_height, std::int64_t out_width) const;

  bool defined() const { return out_ > 0; }

 private:
  at::Tensor run(Runtime& runtime, const at::Tensor& x, const ConvUse& use, bool upsample) const;
  bool may_be_winograd(const Runtime& runtime) const;
  bool winograd_pays(const Runtime& runtime, std::int64_t images, std::int64_t height, std::int64_t width) const;

  std::int64_t in_ = 0, out_ = 0, kernel_ = 0, stride_ = 1, pad_before_ = 1, pad_after_ = 1;
  at::Tensor bias_;
  at::Tensor weight_, packed_;  ///< one of them, the form that is used
  at::Tensor folded_;           ///< for CUDA's upsampled(): [4 O,I,2,2], folded_upsample.h
  at::Tensor int8_weight_;      ///< used while int8_ is on
  Int8Layers::Layer* int8_ = nullptr;
};

class GroupNorm {
 public:
  GroupNorm() = default;
  GroupNorm(const WeightReader& reader, std::int64_t groups, double eps, bool silu);
  at::Tensor operator()(Runtime& runtime, const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
  std::int64_t groups_ = 1;
  double eps_ = 0;
  bool silu_ = false;
};

class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(const WeightReader& reader, double eps);
  at::Tensor operator()(Runtime& runtime, const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
  double eps_ = 0;
};

/// qkv as one product [N,T,3C] -> attention [N,T,C]; also on images, whose pixels are the tokens.
/// @param int8  the entry of `enter_attention`: bytes while it is on
at::Tensor self_attention(Runtime& runtime, const at::Tensor& qkv, std::int64_t heads, bool causal,
                          Int8Layers::Layer* int8 = nullptr);
/// Enters a self-attention that int8 may run; null where it stays fp32.
Int8Layers::Layer* enter_attention(const Runtime& runtime, const std::string& name, std::int64_t width);

/// Keys and values of S conditions, in the form that cross_attention reads.
struct KeyValue {
  at::Tensor tensor;  ///< packed, or [S,T,2C] with fused_attention off
  std::int64_t keys = 0;
};
KeyValue make_key_value(const Runtime& runtime, const at::Tensor& key_value, std::int64_t heads);
at::Tensor cross_attention(Runtime& runtime, const at::Tensor& query, const KeyValue& key_value, std::int64_t heads);

/// [a, b] along the channels.
at::Tensor concat_channels(Runtime& runtime, const at::Tensor& a, const at::Tensor& b);

/// In the memory format that operators pass on to each other: channels-last, or NCHW with that feature off.
at::Tensor settled(const Runtime& runtime, const at::Tensor& x);

}  // namespace i2i
