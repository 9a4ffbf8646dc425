#include "interface/synthetic_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace i2i {
namespace {

/// FNV-1a (Fowler, Noll, Vo), so that a tensor's values hang on names only, not on order or thread count.
std::uint64_t seed_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

/// Weights keep the variance of what passes through them (standard deviation 1 / sqrt(fan_in)); every branch starts
/// with a norm, so the sum over residual branches grows with the root of their number and nothing explodes.
at::Tensor synthetic_tensor(const std::string& name, const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  if (shape.size() == 1) return name.ends_with(".bias") ? at::zeros(shape) : at::ones(shape);
  double fan_in = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
  const double bound = std::sqrt(3 / fan_in);  // of a uniform distribution, which is drawn faster than a normal one
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::empty(shape).uniform_(-bound, bound, generator);
}

Weights synthetic_weights(const CheckpointLayout& layout, const std::string& name) {
  std::vector<at::Tensor> tensors(layout.size());
  at::parallel_for(0, static_cast<std::int64_t>(layout.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::NoGradGuard no_grad;
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      tensors[i] = synthetic_tensor(layout[i].first, layout[i].second, seed_of(name + "/" + layout[i].first));
  });
  Weights weights;
  for (std::size_t i = 0; i < layout.size(); ++i) weights.emplace(layout[i].first, tensors[i]);
  return weights;
}

}  // namespace

std::shared_ptr<const Model> make_synthetic_model(const SyntheticModel& synthetic) {
  const auto model = std::make_shared<Model>();
  model->config = synthetic.config();
  model->config.name = synthetic.name;
  const std::string& name = synthetic.name;
  for (std::size_t i = 0; i < model->config.text_encoders.size(); ++i) {
    const TextEncoderConfig& config = model->config.text_encoders[i];
    model->text_encoder_weights.push_back(
        synthetic_weights(text_encoder_layout(config), name + "/text_encoder" + std::to_string(i)));
    // OpenCLIP's encoders, which have the exact GELU, are the ones published with "!" as padding.
    const bool pad_with_exclamation_mark = config.hidden_act == "gelu";
    model->tokenizers.push_back(
        Tokenizer::bytes_only(config.vocab_size, config.max_position_embeddings, pad_with_exclamation_mark));
  }
  model->unet_weights = synthetic_weights(unet_layout(model->config.unet), name + "/unet");
  model->vae_weights = synthetic_weights(vae_layout(model->config.vae), name + "/vae");
  return model;
}

}  // namespace i2i
