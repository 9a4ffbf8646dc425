// The five layers that Stable Diffusion is made of, as torch::nn::Modules whose parameters carry the checkpoint's own
// names, and the one loop that fills them. Nothing is initialised at random and nothing can be trained.
// Used by modules.h only.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "interface/error.h"
#include "interface/model_files.h"

namespace i2i::reference {

/// A module that makes, registers and returns its children in one call.
class Block : public torch::nn::Module {
 protected:
  template <typename Child, typename... Arguments>
  std::shared_ptr<Child> child(const std::string& name, Arguments&&... arguments) {
    return register_module(name, std::make_shared<Child>(std::forward<Arguments>(arguments)...));
  }

  /// A parameter that knows its shape and owns no memory (one zero seen through strides of 0) until load_weights.
  at::Tensor parameter(const std::string& name, at::IntArrayRef shape) {
    return register_parameter(name, at::zeros({}).expand(shape), /*requires_grad=*/false);
  }
};

/// Children named "0", "1", ..., as checkpoints number them.
template <typename Child>
class List : public Block {
 public:
  template <typename... Arguments>
  Child& append(Arguments&&... arguments) {
    children_.push_back(child<Child>(std::to_string(children_.size()), std::forward<Arguments>(arguments)...));
    return *children_.back();
  }
  std::size_t size() const { return children_.size(); }
  bool empty() const { return children_.empty(); }
  Child& operator[](std::size_t i) const { return *children_[i]; }

 private:
  std::vector<std::shared_ptr<Child>> children_;
};

/// y = x W^T + b, over the last dimension.
class Linear : public Block {
 public:
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true) : weight(parameter("weight", {out, in})) {
    if (with_bias) bias = parameter("bias", {out});
  }
  at::Tensor forward(const at::Tensor& x) const { return at::linear(x, weight, bias); }

  at::Tensor weight, bias;
};

/// Two-dimensional convolution on [B,C,H,W], square kernel.
class Conv2d : public Block {
 public:
  Conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1, std::int64_t padding = 0)
      : weight(parameter("weight", {out, in, kernel, kernel})),
        bias(parameter("bias", {out})),
        stride_(stride),
        padding_(padding) {}
  at::Tensor forward(const at::Tensor& x) const { return at::conv2d(x, weight, bias, stride_, padding_); }

  at::Tensor weight, bias;

 private:
  std::int64_t stride_, padding_;
};

class GroupNorm : public Block {
 public:
  GroupNorm(std::int64_t groups, std::int64_t channels, double eps)
      : weight(parameter("weight", {channels})), bias(parameter("bias", {channels})), groups_(groups), eps_(eps) {}
  at::Tensor forward(const at::Tensor& x) const { return at::group_norm(x, groups_, weight, bias, eps_); }

  at::Tensor weight, bias;

 private:
  std::int64_t groups_;
  double eps_;
};

class LayerNorm : public Block {
 public:
  explicit LayerNorm(std::int64_t size, double eps = 1e-5)
      : weight(parameter("weight", {size})), bias(parameter("bias", {size})), size_(size), eps_(eps) {}
  at::Tensor forward(const at::Tensor& x) const { return at::layer_norm(x, {size_}, weight, bias, eps_); }

  at::Tensor weight, bias;

 private:
  std::int64_t size_;
  double eps_;
};

class Embedding : public Block {
 public:
  Embedding(std::int64_t count, std::int64_t size) : weight(parameter("weight", {count, size})) {}
  at::Tensor forward(const at::Tensor& indices) const { return at::embedding(weight, indices); }

  at::Tensor weight;
};

/// Gives every parameter of `module` the checkpoint's tensor of the same name. Tensors that have the wanted dtype
/// already are aliased, not copied.
/// @throws Error(kGenerationFailed) naming a tensor that is missing, misshapen, or belongs to no parameter
inline void load_weights(torch::nn::Module& module, const Weights& weights, const at::TensorOptions& options) {
  auto parameters = module.named_parameters();
  for (auto& parameter : parameters) {
    const auto found = weights.find(parameter.key());
    if (found == weights.end()) {
      throw Error(ErrorCode::kGenerationFailed, fmt::format("checkpoint lacks the tensor {}", parameter.key()));
    }
    if (found->second.sizes() != parameter.value().sizes()) {
      throw Error(ErrorCode::kGenerationFailed,
                  fmt::format("tensor {} has shape [{}], the model needs [{}]", parameter.key(),
                              fmt::join(found->second.sizes(), ","), fmt::join(parameter.value().sizes(), ",")));
    }
    parameter.value().set_data(found->second.to(options));
  }
  for (const auto& [name, tensor] : weights) {
    if (!parameters.contains(name)) {
      throw Error(ErrorCode::kGenerationFailed, fmt::format("the model has no use for the tensor {}", name));
    }
  }
}

}  // namespace i2i::reference
