#include "interface/single_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/model_parts.h"
#include "interface/original_config.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// ------------------------------------------------------------------------------------------- what kind of file it is

/// torch.save's files, by the name's end: reading one can run what it holds.
void refuse_pickle(const std::string& path) {
  const std::string end = fs::path(path).extension().string();
  if (end == ".ckpt" || end == ".pt" || end == ".pth" || end == ".bin")
    throw_broken_file(path, "is a pickle, which can run code when it is read; only safetensors files are read");
}

/// What a file that is no checkpoint of a whole model holds. Matched in this order against any part of any key, or
/// against the front of one.
struct Kind {
  std::string_view part;
  bool at_front;
  const char* sentence;
};

constexpr const char* kLora = "this is a LoRA file, which changes a model: use --lora";
constexpr const char* kOnlyUNet = "holds a UNet in diffusers' layout, a part of a model: give the whole model's folder";
constexpr const char* kOnlyVae = "holds a VAE in diffusers' layout, a part of a model: give the whole model's folder";
constexpr const char* kOnlyText =
    "holds a text encoder in transformers' layout, a part of a model: give the whole model's folder";
constexpr const char* kControlNet = "holds a ControlNet, which is not supported";
constexpr const char* kTransformer = "holds a diffusion transformer (SD 3, Flux or the like), which is not supported";
constexpr Kind kOtherKinds[] = {
    {"lora_", false, kLora},
    {".lora.", false, kLora},
    {"_lora.", false, kLora},
    {".hada_w", false, kLora},
    {".lokr_w", false, kLora},
    {"control_model.", true, kControlNet},
    {"controlnet_cond_embedding.", true, kControlNet},
    {"joint_blocks.", false, kTransformer},
    {"double_blocks.", false, kTransformer},
    {"down_blocks.0.resnets.", true, kOnlyUNet},
    {"encoder.down_blocks.", true, kOnlyVae},
    {"text_model.embeddings.", true, kOnlyText},
    {"embeddings.token_embedding.", true, kOnlyText},
    {"encoder.down.", true, "holds a VAE alone: text encoders and a UNet are needed too"},
    {"input_blocks.", true, "holds a UNet alone: text encoders and a VAE are needed too"},
};

/// @throws Error(kGenerationFailed) unless the file has a UNet, a VAE and text encoders under their original names
void refuse_other_kinds(const OriginalFile& file, const std::vector<OriginalTextEncoder>& encoders) {
  for (const Kind& kind : kOtherKinds)
    for (const auto& [key, tensor] : file.weights())
      if (kind.at_front ? key.starts_with(kind.part) : key.find(kind.part) != key.npos)
        throw_broken_file(file.path(), fmt::format("{} (it has {})", kind.sentence, key));
  std::vector<std::string> absent;
  if (!file.has_front(kUNetPrefix)) absent.push_back(fmt::format("UNet ({}*)", kUNetPrefix));
  if (!file.has_front(kVaePrefix)) absent.push_back(fmt::format("VAE ({}*)", kVaePrefix));
  if (encoders.empty()) absent.emplace_back("text encoder (cond_stage_model.* or conditioner.*)");
  if (absent.empty()) return;
  const std::string some = file.weights().empty() ? "" : fmt::format("; it has {}", file.weights().begin()->first);
  throw_broken_file(file.path(), fmt::format("is no Stable Diffusion checkpoint in an original layout: it has no {}{}",
                                             fmt::join(absent, ", no "), some));
}

// --------------------------------------------------------------------------------------------------- tensors by key

/// Keys that published files carry beside the weights and that no picture depends on.
bool is_stray(const std::string& key, const std::vector<OriginalTextEncoder>& encoders,
              const std::vector<TextEncoderConfig>& configs) {
  // The noise schedule as training kept it; the scheduler's config gives the same numbers.
  constexpr std::string_view kSchedule[] = {"alphas_cumprod",
                                            "alphas_cumprod_prev",
                                            "betas",
                                            "log_one_minus_alphas_cumprod",
                                            "logvar",
                                            "lvlb_weights",
                                            "posterior_log_variance_clipped",
                                            "posterior_mean_coef1",
                                            "posterior_mean_coef2",
                                            "posterior_variance",
                                            "scale_factor",
                                            "sqrt_alphas_cumprod",
                                            "sqrt_one_minus_alphas_cumprod",
                                            "sqrt_recip_alphas_cumprod",
                                            "sqrt_recipm1_alphas_cumprod",
                                            "denoiser.log_sigmas",
                                            "denoiser.sigmas",
                                            "global_step"};
  // Read by infer_scheduler.
  constexpr std::string_view kMarks[] = {"edm_vpred.sigma_max", "edm_vpred.sigma_min", "v_pred", "ztsnr"};
  constexpr std::string_view kFronts[] = {
      "model_ema.",              // a moving average of the weights; diffusers, too, takes the weights beside it
      "first_stage_model.loss."  // discriminator and perceptual loss, with which the VAE was trained
  };
  constexpr std::string_view kEnds[] = {".position_ids",     // 0, 1, 2, ...
                                        ".attn_mask",        // the causal mask
                                        ".logit_scale",      // of CLIP's contrastive loss
                                        ".text_projection",  // where the encoder's pooled text is not used
                                        ".text_projection.weight"};
  if (std::ranges::find(kSchedule, key) != std::end(kSchedule)) return true;
  if (std::ranges::find(kMarks, key) != std::end(kMarks)) return true;
  if (std::ranges::any_of(kFronts, [&](std::string_view front) { return key.starts_with(front); })) return true;
  if (std::ranges::any_of(kEnds, [&](std::string_view end) { return key.ends_with(end); })) return true;
  // SD 2 takes its text from the last layer but one, and today's encoder ends there.
  for (std::size_t i = 0; i < encoders.size(); ++i) {
    const bool ends_early = encoders[i].names == TextEncoderNames::kOpenClip && encoders[i].component == "text_encoder";
    if (ends_early &&
        key.starts_with(fmt::format("{}transformer.resblocks.{}.", encoders[i].prefix, configs[i].num_hidden_layers)))
      return true;
  }
  return false;
}

/// Takes one component's tensors from the file, noting the keys that were asked for and what is wrong with them.
Weights take_tensors(const OriginalFile& file, const std::string& component, const OriginalLayout& layout,
                     std::set<std::string>& asked, std::vector<std::string>& problems) {
  Weights weights;
  for (const OriginalTensor& tensor : layout) {
    const bool is_new = asked.insert(tensor.key).second;  // three of today's tensors may stand in one of the file
    const auto complain = [&](const std::string& what) {
      if (is_new) problems.push_back(fmt::format("{}: {} {}", component, tensor.key, what));
    };
    const auto found = file.weights().find(tensor.key);
    if (found == file.weights().end()) {
      complain("is missing");
      continue;
    }
    const at::Tensor& stored = found->second;
    at::Tensor today = from_original(stored, tensor);
    if (!today.defined())
      complain(
          fmt::format("is {}, its config needs {}", shape_text(stored.sizes()), shape_text(original_shape(tensor))));
    else if (!at::isFloatingType(stored.scalar_type()))
      complain(fmt::format("holds {}, not floating point", c10::toString(stored.scalar_type())));
    else
      weights.emplace(tensor.name, std::move(today));
  }
  return weights;
}

// ---------------------------------------------------------------------------------------- what the file does not hold

/// A folder in diffusers layout, of which any part may be missing.
class ConfigFolder {
 public:
  /// @throws Error(kUsage) for one that has nothing to say
  explicit ConfigFolder(const std::string& folder) : folder_(folder) {
    if (folder.empty()) return;
    constexpr const char* kParts[] = {"model_index.json",
                                      "unet/config.json",
                                      "vae/config.json",
                                      "text_encoder/config.json",
                                      "text_encoder_2/config.json",
                                      "scheduler/scheduler_config.json",
                                      "tokenizer",
                                      "tokenizer_2"};
    if (std::ranges::none_of(kParts, [&](const char* part) { return has(part); }))
      throw Error(ErrorCode::kUsage, fmt::format("--model-config {}: has none of {}", folder, fmt::join(kParts, ", ")));
    if (has("model_index.json")) index_ = read("model_index.json");
  }

  bool has(const std::string& part) const { return !folder_.empty() && is_present(folder_ / part); }
  Json read(const std::string& file) const { return read_json_object((folder_ / file).string()); }
  bool has_index() const { return !index_.empty(); }
  bool says(const char* key) const { return index_.contains(key) && index_.at(key) == true; }
  const fs::path& path() const { return folder_; }
  const Json& index() const { return index_; }

 private:
  fs::path folder_;
  Json index_ = Json::object();
};

/// CLIP's tokenizer as ci/setup makes it of the vocabulary that OpenAI published.
Tokenizer published_tokenizer(const std::string& file, TextEncoderNames names) {
  const bool open_clip = names == TextEncoderNames::kOpenClip;  // those were published with "!" as padding
  const fs::path folder = fs::path(I2I_DEPS) / "clip" / (open_clip ? "pad_exclamation_mark" : "pad_end");
  if (!is_present(folder))
    throw_broken_file(file,
                      fmt::format("a single file holds no tokenizer, and CLIP's is not in {}: run ci/setup, or give "
                                  "a folder with one by --model-config",
                                  folder.string()));
  return Tokenizer::load(folder.string());
}

}  // namespace

std::shared_ptr<const Model> load_single_file(const std::string& path, const std::string& config_folder) {
  refuse_pickle(path);
  const ConfigFolder folder(config_folder);
  const OriginalFile file(path, read_safetensors(path));
  const std::vector<OriginalTextEncoder> encoders = find_text_encoders(file);
  refuse_other_kinds(file, encoders);

  auto model = std::make_shared<Model>();
  ModelConfig& config = model->config;
  std::vector<std::string> problems;
  std::set<std::string> asked;
  config.name = path;
  config.unet = folder.has("unet/config.json") ? parse_unet_config(folder.read("unet/config.json")) : infer_unet(file);
  config.vae = folder.has("vae/config.json") ? parse_vae_config(folder.read("vae/config.json"))
                                             : infer_vae(file, config.is_sdxl());
  config.scheduler = folder.has("scheduler/scheduler_config.json") ? folder.read("scheduler/scheduler_config.json")
                                                                   : infer_scheduler(file, config.unet);
  for (const OriginalTextEncoder& encoder : encoders) {
    const std::string& component = encoder.component;
    const TextEncoderConfig text = folder.has(component + "/config.json")
                                       ? read_text_encoder_config(folder.path(), component, folder.index())
                                       : infer_text_encoder(file, encoder);
    const std::string tokenizer = component == "text_encoder" ? "tokenizer" : "tokenizer_2";
    model->tokenizers.push_back(folder.has(tokenizer) ? Tokenizer::load((folder.path() / tokenizer).string())
                                                      : published_tokenizer(path, encoder.names));
    check_tokenizer(component, text, model->tokenizers.back(), problems);
    const OriginalLayout layout = original_text_encoder_layout(text, encoder.names, encoder.prefix);
    model->text_encoder_weights.push_back(take_tensors(file, component, layout, asked, problems));
    config.text_encoders.push_back(text);
  }
  config.requires_aesthetics_score = folder.has_index()
                                         ? folder.says("requires_aesthetics_score")
                                         : infer_aesthetics_score(config.unet, config.text_encoders.back());
  config.is_cosxl_edit =
      folder.has_index() ? folder.says("is_cosxl_edit") : config.takes_source_as_condition() && is_cosxl(file);

  model->unet_weights = take_tensors(file, "unet", original_unet_layout(config.unet), asked, problems);
  model->vae_weights = take_tensors(file, "vae", original_vae_layout(config.vae), asked, problems);
  for (const auto& [key, tensor] : file.weights())
    if (!asked.contains(key) && !is_stray(key, encoders, config.text_encoders))
      problems.push_back(fmt::format("{} is unknown", key));
  throw_problems(path, problems);
  check_widths(config, path);
  return model;
}

}  // namespace i2i
