#include "interface/original_layout.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <span>
#include <string_view>
#include <utility>

#include "interface/model_files.h"

namespace i2i {
namespace {

using Renames = std::span<const std::pair<std::string_view, std::string_view>>;

/// A dotted name, read from its front.
class DottedName {
 public:
  explicit DottedName(std::string_view name) : rest_(name) {}

  bool take(std::string_view front) {
    if (!rest_.starts_with(front)) return false;
    rest_.remove_prefix(front.size());
    return true;
  }

  /// A number and the dot behind it.
  std::size_t number() {
    std::size_t value = 0;
    const char* end = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value).ptr;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()) + 1);
    return value;
  }

  std::string_view rest() const { return rest_; }

  /// The rest with the first front of `renames` that it has renamed; as it is where it has none.
  std::string renamed(Renames renames) const {
    for (const auto& [from, to] : renames)
      if (rest_.starts_with(from)) return fmt::format("{}{}", to, rest_.substr(from.size()));
    return std::string(rest_);
  }

 private:
  std::string_view rest_;
};

constexpr std::pair<std::string_view, std::string_view> kUNetParts[] = {
    {"conv_in.", "input_blocks.0.0."},
    {"time_embedding.linear_1.", "time_embed.0."},
    {"time_embedding.linear_2.", "time_embed.2."},
    {"time_embedding.cond_proj.", "time_embed.cond_proj."},
    {"add_embedding.linear_1.", "label_emb.0.0."},
    {"add_embedding.linear_2.", "label_emb.0.2."},
    {"mid_block.attentions.0.", "middle_block.1."},
    {"conv_norm_out.", "out.0."},
    {"conv_out.", "out.2."}};

constexpr std::pair<std::string_view, std::string_view> kUNetResnet[] = {
    {"norm1.", "in_layers.0."},  {"conv1.", "in_layers.2."},          {"norm2.", "out_layers.0."},
    {"conv2.", "out_layers.3."}, {"time_emb_proj.", "emb_layers.1."}, {"conv_shortcut.", "skip_connection."}};

constexpr std::pair<std::string_view, std::string_view> kVaeParts[] = {{"conv_norm_out.", "norm_out."}};

constexpr std::pair<std::string_view, std::string_view> kVaeResnet[] = {{"conv_shortcut.", "nin_shortcut."}};

constexpr std::pair<std::string_view, std::string_view> kVaeAttention[] = {
    {"group_norm.", "norm."}, {"to_q.", "q."}, {"to_k.", "k."}, {"to_v.", "v."}, {"to_out.0.", "proj_out."}};

constexpr std::pair<std::string_view, std::string_view> kOpenClipParts[] = {
    {"embeddings.token_embedding.weight", "token_embedding.weight"},
    {"embeddings.position_embedding.weight", "positional_embedding"},
    {"final_layer_norm.", "ln_final."},
    {"text_projection.weight", "text_projection"}};

constexpr std::pair<std::string_view, std::string_view> kOpenClipLayer[] = {{"layer_norm1.", "ln_1."},
                                                                            {"layer_norm2.", "ln_2."},
                                                                            {"mlp.fc1.", "mlp.c_fc."},
                                                                            {"mlp.fc2.", "mlp.c_proj."},
                                                                            {"self_attn.out_proj.", "attn.out_proj."},
                                                                            {"self_attn.q_proj.", "attn.in_proj_"},
                                                                            {"self_attn.k_proj.", "attn.in_proj_"},
                                                                            {"self_attn.v_proj.", "attn.in_proj_"}};

/// The original VAE numbers the levels of its decoder by resolution, as those of its encoder: up.0 runs last.
std::string vae_key(const std::string& name, std::size_t blocks) {
  DottedName rest(name);
  const char* half = rest.take("encoder.") ? "encoder" : rest.take("decoder.") ? "decoder" : nullptr;
  if (half == nullptr) return name;  // quant_conv, post_quant_conv
  const bool down = rest.take("down_blocks.");
  if (down || rest.take("up_blocks.")) {
    const std::size_t block = rest.number();
    const std::string path = fmt::format("{}.{}.{}", half, down ? "down" : "up", down ? block : blocks - 1 - block);
    if (rest.take("downsamplers.0.")) return fmt::format("{}.downsample.{}", path, rest.rest());
    if (rest.take("upsamplers.0.")) return fmt::format("{}.upsample.{}", path, rest.rest());
    rest.take("resnets.");
    const std::size_t resnet = rest.number();
    return fmt::format("{}.block.{}.{}", path, resnet, rest.renamed(kVaeResnet));
  }
  if (rest.take("mid_block.attentions.0.")) return fmt::format("{}.mid.attn_1.{}", half, rest.renamed(kVaeAttention));
  if (rest.take("mid_block.resnets.")) {
    const std::size_t resnet = rest.number();
    return fmt::format("{}.mid.block_{}.{}", half, resnet + 1, rest.renamed(kVaeResnet));
  }
  return fmt::format("{}.{}", half, rest.renamed(kVaeParts));
}

std::string open_clip_key(const std::string& name) {
  DottedName rest(name);
  if (!rest.take("encoder.layers.")) return rest.renamed(kOpenClipParts);
  const std::size_t layer = rest.number();
  return fmt::format("transformer.resblocks.{}.{}", layer, rest.renamed(kOpenClipLayer));
}

Stored open_clip_form(std::string_view name) {
  if (name == "text_projection.weight") return Stored::kTransposed;
  if (name.find(".q_proj.") != name.npos) return Stored::kQueryRows;
  if (name.find(".k_proj.") != name.npos) return Stored::kKeyRows;
  return name.find(".v_proj.") != name.npos ? Stored::kValueRows : Stored::kAsIs;
}

}  // namespace

/// The original UNet counts the entries of each half through all its blocks: input_blocks.0 is conv_in, then each block
/// has its layers and, unless it is the last, a downsampler; output_blocks have an upsampler inside the last layer.
std::string original_unet_key(const std::string& name, const UNetConfig& config) {
  const std::size_t blocks = config.block_out_channels.size();
  DottedName rest(name);
  const auto entry = [&](const char* half, std::size_t number) {
    const bool attention = rest.take("attentions.");
    if (!attention) rest.take("resnets.");
    number += rest.number();
    return attention ? fmt::format("{}.{}.1.{}", half, number, rest.rest())
                     : fmt::format("{}.{}.0.{}", half, number, rest.renamed(kUNetResnet));
  };
  if (rest.take("down_blocks.")) {
    const std::size_t block = rest.number();
    std::size_t first = 1;
    for (std::size_t i = 0; i < block; ++i) first += static_cast<std::size_t>(config.layers_per_block[i]) + 1;
    if (!rest.take("downsamplers.0.conv.")) return entry("input_blocks", first);
    const std::size_t last = first + static_cast<std::size_t>(config.layers_per_block[block]);
    return fmt::format("input_blocks.{}.0.op.{}", last, rest.rest());
  }
  if (rest.take("up_blocks.")) {
    const std::size_t block = rest.number();
    const auto layers = [&](std::size_t i) {
      return static_cast<std::size_t>(config.layers_per_block[blocks - 1 - i]);
    };
    std::size_t first = 0;
    for (std::size_t i = 0; i < block; ++i) first += layers(i) + 1;
    if (!rest.take("upsamplers.0.conv.")) return entry("output_blocks", first);
    const bool behind_attention = config.up_block_types[block].starts_with("CrossAttn");
    return fmt::format("output_blocks.{}.{}.conv.{}", first + layers(block), behind_attention ? 2 : 1, rest.rest());
  }
  if (rest.take("mid_block.resnets.")) {
    const std::size_t resnet = rest.number();
    return fmt::format("middle_block.{}.{}", 2 * resnet, rest.renamed(kUNetResnet));
  }
  return rest.renamed(kUNetParts);
}

OriginalLayout original_text_encoder_layout(const TextEncoderConfig& config, TextEncoderNames names,
                                            const std::string& prefix) {
  const bool open_clip = names == TextEncoderNames::kOpenClip;
  OriginalLayout layout;
  for (auto& [name, shape] : text_encoder_layout(config)) {
    const std::string key = prefix + (open_clip ? open_clip_key(name) : name);
    layout.push_back({name, std::move(shape), key, open_clip ? open_clip_form(name) : Stored::kAsIs});
  }
  return layout;
}

OriginalLayout original_unet_layout(const UNetConfig& config) {
  OriginalLayout layout;
  for (auto& [name, shape] : unet_layout(config))
    layout.push_back({name, std::move(shape), kUNetPrefix + original_unet_key(name, config)});
  return layout;
}

OriginalLayout original_vae_layout(const VaeConfig& config) {
  OriginalLayout layout;
  for (auto& [name, shape] : vae_layout(config)) {
    const bool attention_weight = name.find(".attentions.") != name.npos && shape.size() == 2;
    layout.push_back({name, std::move(shape), kVaePrefix + vae_key(name, config.block_out_channels.size()),
                      attention_weight ? Stored::kAsConvolution : Stored::kAsIs});
  }
  return layout;
}

std::vector<std::int64_t> original_shape(const OriginalTensor& tensor) {
  std::vector<std::int64_t> shape = tensor.shape;
  switch (tensor.stored) {
    case Stored::kAsIs:
      break;
    case Stored::kTransposed:
      std::swap(shape[0], shape[1]);
      break;
    case Stored::kQueryRows:
    case Stored::kKeyRows:
    case Stored::kValueRows:
      shape[0] *= 3;
      break;
    case Stored::kAsConvolution:
      shape.insert(shape.end(), {1, 1});
      break;
  }
  return shape;
}

at::Tensor from_original(const at::Tensor& stored, const OriginalTensor& tensor) {
  const at::IntArrayRef today = tensor.shape;
  if (tensor.stored == Stored::kAsConvolution && stored.sizes() == today) return stored;
  const std::vector<std::int64_t> shape = original_shape(tensor);
  if (stored.sizes() != at::IntArrayRef(shape)) return {};
  switch (tensor.stored) {
    case Stored::kAsIs:
      return stored;
    case Stored::kTransposed:
      return stored.t().contiguous();
    case Stored::kQueryRows:
      return stored.narrow(0, 0, today[0]);
    case Stored::kKeyRows:
      return stored.narrow(0, today[0], today[0]);
    case Stored::kValueRows:
      return stored.narrow(0, 2 * today[0], today[0]);
    case Stored::kAsConvolution:
      return stored.flatten(1);
  }
  return {};
}

}  // namespace i2i
