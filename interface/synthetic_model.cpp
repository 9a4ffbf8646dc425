#include "interface/synthetic_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "interface/mapping.h"

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
void fill(const at::Tensor& tensor, const std::string& name, std::uint64_t seed) {
  if (tensor.dim() == 1) {
    tensor.fill_(name.ends_with(".bias") ? 0 : 1);
    return;
  }
  const double fan_in = static_cast<double>(tensor.numel()) / static_cast<double>(tensor.size(0));
  const double bound = std::sqrt(3 / fan_in);  // of a uniform distribution, which is drawn faster than a normal one
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  tensor.uniform_(-bound, bound, generator);
}

/// Tensors without values yet, in a nameless file where they are large, so that they can leave memory as a checkpoint's
/// can; in memory where the disk has no room.
std::vector<at::Tensor> room_for(const CheckpointLayout& layout) {
  constexpr std::size_t kLeastInFile = 64 << 20;
  constexpr std::size_t kAlignment = 64;
  std::vector<std::size_t> offsets = {0};
  for (const auto& [name, shape] : layout)
    offsets.push_back(offsets.back() +
                      (c10::multiply_integers(shape) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment);
  const auto file = offsets.back() < kLeastInFile ? nullptr : Mapping::nameless(offsets.back());
  std::vector<at::Tensor> tensors;
  for (std::size_t i = 0; i < layout.size(); ++i) {
    const auto& shape = layout[i].second;
    if (file == nullptr) {
      tensors.push_back(at::empty(shape, at::kFloat));
    } else {
      tensors.push_back(at::from_blob(
          static_cast<char*>(file->writable()) + offsets[i], shape, [file](void*) {}, at::kFloat));
    }
  }
  return tensors;
}

}  // namespace

Weights synthetic_weights(const CheckpointLayout& layout, const std::string& name) {
  const std::vector<at::Tensor> tensors = room_for(layout);
  at::parallel_for(0, static_cast<std::int64_t>(layout.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    const c10::NoGradGuard no_grad;
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      fill(tensors[i], layout[i].first, seed_of(name + "/" + layout[i].first));
  });
  Weights weights;
  for (std::size_t i = 0; i < layout.size(); ++i) weights.emplace(layout[i].first, tensors[i]);
  return weights;
}

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
