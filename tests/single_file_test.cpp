// Single files in original layouts: every family gives the tensors of its folder, byte for byte and without a copy;
// sizes are told from real sizes' keys and shapes; what is wrong with a file is said all at once, in the file's own
// names.
#include "interface/single_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "interface/error.h"
#include "interface/model_source.h"
#include "interface/original_config.h"
#include "interface/synthetic_model.h"
#include "tests/failures.h"
#include "tests/scratch_folder.h"
#include "tests/single_files.h"

namespace i2i {
namespace {

using nlohmann::json;
using single_files::folder_of;
using single_files::golden;
using single_files::tensors_of;
namespace fs = std::filesystem;

/// Every field, so that a difference can be read.
std::string text_of(const TextEncoderConfig& c) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {}", c.vocab_size, c.hidden_size, c.intermediate_size,
                     c.num_hidden_layers, c.num_attention_heads, c.max_position_embeddings, c.projection_dim,
                     c.eos_token_id, c.hidden_act, c.layer_norm_eps, c.with_projection);
}

std::string text_of(const VaeConfig& c) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {}", c.in_channels, c.out_channels, c.latent_channels,
                     c.block_out_channels, c.layers_per_block, c.norm_num_groups, c.scaling_factor, c.latents_mean,
                     c.latents_std, c.force_upcast, c.use_quant_conv, c.use_post_quant_conv, c.mid_block_add_attention);
}

std::string text_of(UNetConfig c) {
  // A level without transformers has no depth, whatever its config says; the last level's is the middle block's.
  for (std::size_t i = 0; i + 1 < c.block_out_channels.size(); ++i)
    if (c.down_block_types[i] == "DownBlock2D") c.transformer_layers_per_block[i] = 0;
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", c.sample_size, c.in_channels,
                     c.out_channels, c.down_block_types, c.up_block_types, c.block_out_channels, c.layers_per_block,
                     c.num_attention_heads, c.transformer_layers_per_block, c.cross_attention_dim, c.norm_num_groups,
                     c.norm_eps, c.use_linear_projection, c.flip_sin_to_cos, c.freq_shift, c.text_time_conditioning,
                     c.addition_time_embed_dim, c.projection_class_embeddings_input_dim, c.time_cond_proj_dim);
}

std::string text_of(const ModelConfig& c) {
  std::string text;
  for (const TextEncoderConfig& encoder : c.text_encoders) text += text_of(encoder) + "\n";
  return text + fmt::format("{}\n{}\n{}\n{} {}", text_of(c.unet), text_of(c.vae), c.scheduler.dump(), c.is_cosxl_edit,
                            c.requires_aesthetics_score);
}

// ------------------------------------------------------------------------------------------------------ every family

class SingleFileFamily : public testing::TestWithParam<std::string> {
 protected:
  ScratchFolder scratch_;
};
INSTANTIATE_TEST_SUITE_P(Goldens, SingleFileFamily, testing::ValuesIn(single_files::families()),
                         single_files::test_name);

void expect_equal(const Weights& loaded, const Weights& expected, const std::string& component) {
  ASSERT_EQ(loaded.size(), expected.size()) << component;
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(loaded.contains(name)) << component << " " << name;
    const at::Tensor& ours = loaded.at(name);
    EXPECT_EQ(ours.scalar_type(), tensor.scalar_type()) << component << " " << name;
    // The same strides too, so that both forms are multiplied in the same order.
    EXPECT_EQ(ours.strides(), tensor.strides()) << component << " " << name;
    EXPECT_TRUE(ours.equal(tensor)) << component << " " << name;
  }
}

TEST_P(SingleFileFamily, IsTheFolderForm) {
  const auto folder = load_model(folder_of(GetParam()));
  const Weights tensors = tensors_of(GetParam(), *folder);
  const std::string path = (scratch_ / "model.safetensors").string();
  write_safetensors({tensors.begin(), tensors.end()}, path);
  const auto file = load_model(ModelSource{path, folder_of(GetParam())});

  EXPECT_EQ(file->config.name, path);
  EXPECT_EQ(text_of(file->config), text_of(folder->config));
  ASSERT_EQ(file->text_encoder_weights.size(), folder->text_encoder_weights.size());
  for (std::size_t i = 0; i < folder->text_encoder_weights.size(); ++i) {
    expect_equal(file->text_encoder_weights[i], folder->text_encoder_weights[i], fmt::format("text encoder {}", i));
    EXPECT_EQ(file->tokenizers[i].encode("a red cube!"), folder->tokenizers[i].encode("a red cube!"));
  }
  expect_equal(file->unet_weights, folder->unet_weights, "unet");
  expect_equal(file->vae_weights, folder->vae_weights, "vae");
}

TEST_P(SingleFileFamily, TensorsAreViewsOfTheFile) {
  const auto folder = load_model(folder_of(GetParam()));
  const Weights tensors = tensors_of(GetParam(), *folder);
  const std::string path = (scratch_ / "model.safetensors").string();
  write_safetensors({tensors.begin(), tensors.end()}, path);
  const auto file = load_model(ModelSource{path, folder_of(GetParam())});

  const char* first = static_cast<const char*>(file->unet_weights.at("conv_in.weight").const_data_ptr());
  const auto size = static_cast<std::ptrdiff_t>(fs::file_size(path));
  std::vector<std::string> copied;
  const auto note = [&](const Weights& weights) {
    for (const auto& [name, tensor] : weights)
      if (std::abs(static_cast<const char*>(tensor.const_data_ptr()) - first) > size) copied.push_back(name);
  };
  for (const Weights& weights : file->text_encoder_weights) note(weights);
  note(file->unet_weights);
  note(file->vae_weights);
  const bool projects = file->config.text_encoders.back().with_projection;
  EXPECT_EQ(copied, projects ? std::vector<std::string>{"text_projection.weight"} : std::vector<std::string>{});
}

// --------------------------------------------------------------------------------------------- sizes from the shapes

std::vector<std::string> sorted_lines(const Weights& weights) {
  std::vector<std::string> lines;
  for (const auto& [key, tensor] : weights)
    lines.push_back(fmt::format("{} [{}]", key, fmt::join(tensor.sizes(), ",")));
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::string fingerprint(const std::vector<std::string>& lines) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::string& line : lines)
    for (const char c : line + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return fmt::format("{:016x}", hash);
}

/// The keys and shapes of a file, with one value behind each tensor.
void add_shapes(const OriginalLayout& layout, Weights& weights) {
  static const at::Tensor value = at::zeros(1, at::kHalf);
  for (const OriginalTensor& tensor : layout) weights[tensor.key] = value.expand(original_shape(tensor));
}

/// The original keys and shapes of a real size, from our layout.
Weights shapes_of(const ModelConfig& config) {
  Weights weights;
  for (std::size_t i = 0; i < config.text_encoders.size(); ++i) {
    const bool open_clip = config.text_encoders[i].hidden_act == "gelu";
    std::string prefix = "cond_stage_model.";
    if (config.is_sdxl()) prefix = fmt::format("conditioner.embedders.{}.", i);
    prefix += open_clip ? "model." : "transformer.text_model.";
    const auto names = open_clip ? TextEncoderNames::kOpenClip : TextEncoderNames::kTransformers;
    add_shapes(original_text_encoder_layout(config.text_encoders[i], names, prefix), weights);
  }
  add_shapes(original_unet_layout(config.unet), weights);
  add_shapes(original_vae_layout(config.vae), weights);
  return weights;
}

ModelConfig published_config(const json& row) {
  ModelConfig config;
  for (const char* encoder : {"text_encoder", "text_encoder_2"})
    if (row.at("configs").contains(encoder))
      config.text_encoders.push_back(parse_text_encoder_config(row.at("configs").at(encoder)));
  config.unet = parse_unet_config(row.at("configs").at("unet"));
  config.vae = parse_vae_config(row.at("configs").at("vae"));
  if (config.is_sdxl()) config.vae.scaling_factor = 0.13025;
  config.requires_aesthetics_score = row.at("name") == "sdxl-refiner";
  return config;
}

/// What single_file.cpp infers where no config is given.
ModelConfig inferred(const OriginalFile& file) {
  ModelConfig config;
  for (const OriginalTextEncoder& encoder : find_text_encoders(file))
    config.text_encoders.push_back(infer_text_encoder(file, encoder));
  config.unet = infer_unet(file);
  config.vae = infer_vae(file, config.is_sdxl());
  config.scheduler = infer_scheduler(file, config.unet);
  config.requires_aesthetics_score = infer_aesthetics_score(config.unet, config.text_encoders.back());
  return config;
}

TEST(OriginalConfig, RealSizesAreToldFromKeysAndShapes) {
  int synthetic = 0;
  for (const json& row : golden().at("published")) {
    const auto name = row.at("name").get<std::string>();
    ModelConfig expected = published_config(row);
    Weights shapes = shapes_of(expected);
    EXPECT_EQ(shapes.size(), row.at("tensors").get<std::size_t>()) << name;
    EXPECT_EQ(fingerprint(sorted_lines(shapes)), row.at("fingerprint").get<std::string>()) << name;
    if (name == "synthetic:sd21") {  // the file has OpenCLIP's last layer, which SD 2 does not use
      const TextEncoderConfig& text = expected.text_encoders.at(0);
      TextEncoderConfig whole = text;
      ++whole.num_hidden_layers;
      add_shapes(original_text_encoder_layout(whole, TextEncoderNames::kOpenClip, "cond_stage_model.model."), shapes);
    }
    const ModelConfig config = inferred(OriginalFile(name, shapes));
    expected.scheduler = config.scheduler;
    for (const SyntheticModel& model : synthetic_models())
      if (model.name == name) {
        expected = model.config();
        ++synthetic;
      }
    EXPECT_EQ(text_of(config), text_of(expected)) << name;
  }
  EXPECT_EQ(synthetic, 5);
  EXPECT_EQ(golden().at("published").size(), 6u);
}

TEST(OriginalConfig, MarksInAFileChooseItsScheduler) {
  const ModelConfig sdxl = published_config(golden().at("published").at(2));
  ASSERT_TRUE(sdxl.is_sdxl());
  Weights shapes;
  EXPECT_EQ(infer_scheduler(OriginalFile("f", shapes), sdxl.unet).at("_class_name"), "EulerDiscreteScheduler");
  shapes["v_pred"] = at::empty(0);
  EXPECT_EQ(infer_scheduler(OriginalFile("f", shapes), sdxl.unet).at("prediction_type"), "v_prediction");
  EXPECT_FALSE(infer_scheduler(OriginalFile("f", shapes), sdxl.unet).contains("rescale_betas_zero_snr"));
  shapes["ztsnr"] = at::empty(0);
  EXPECT_EQ(infer_scheduler(OriginalFile("f", shapes), sdxl.unet).at("rescale_betas_zero_snr"), true);
  shapes["edm_vpred.sigma_max"] = at::tensor(120.0f);
  shapes["edm_vpred.sigma_min"] = at::tensor(0.002f);
  const json cosxl = infer_scheduler(OriginalFile("f", shapes), sdxl.unet);
  EXPECT_EQ(cosxl.at("_class_name"), "EDMEulerScheduler");
  EXPECT_EQ(cosxl.at("sigma_max"), 120.0);
  EXPECT_EQ(cosxl.at("sigma_data"), 1.0);
  UNetConfig lcm = published_config(golden().at("published").at(0)).unet;
  lcm.time_cond_proj_dim = 256;
  EXPECT_EQ(infer_scheduler(OriginalFile("f", {}), lcm).at("_class_name"), "LCMScheduler");
}

TEST(OriginalConfig, ForeignSizesAskForAConfig) {
  ModelConfig config = published_config(golden().at("published").at(2));
  Weights shapes = shapes_of(config);
  shapes["conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"] = at::zeros({9, 70});
  expect_contains(failure_of([&] { inferred(OriginalFile("f", shapes)); }), "text_encoder is 70 wide");
  shapes = shapes_of(config);
  shapes["model.diffusion_model.input_blocks.0.0.weight"] = at::zeros({320, 9, 3, 3});
  expect_contains(failure_of([&] { inferred(OriginalFile("f", shapes)); }), "f: UNet config: in_channels is 9");
  shapes = shapes_of(config);
  shapes.erase("model.diffusion_model.middle_block.1.proj_in.weight");
  expect_contains(failure_of([&] { inferred(OriginalFile("f", shapes)); }), "middle_block.1.proj_in.weight is missing");
  shapes = shapes_of(config);
  shapes["first_stage_model.decoder.conv_in.weight"] = at::zeros(4);
  expect_contains(failure_of([&] { inferred(OriginalFile("f", shapes)); }), "decoder.conv_in.weight has 1 dimensions");
}

// ------------------------------------------------------------------------------------------------------ without config

// Models that are small, and yet have what cannot be told from shapes as published: 32 groups, heads 64 wide.

TextEncoderConfig small_text(bool open_clip, bool projects) {
  return parse_text_encoder_config({{"hidden_size", 64},
                                    {"intermediate_size", 64},
                                    {"num_hidden_layers", 2},
                                    {"projection_dim", 32},
                                    {"hidden_act", open_clip ? "gelu" : "quick_gelu"},
                                    {"architectures", {projects ? "CLIPTextModelWithProjection" : "CLIPTextModel"}}});
}

/// @param numbers  that SDXL embeds beside the pooled text; 0 for SD 1 and 2
Weights small_file(const std::vector<TextEncoderConfig>& encoders, std::int64_t in_channels, std::int64_t numbers) {
  json unet = {{"block_out_channels", {64, 128}},
               {"down_block_types", {"CrossAttnDownBlock2D", "DownBlock2D"}},
               {"up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D"}},
               {"layers_per_block", 1},
               {"in_channels", in_channels},
               {"cross_attention_dim", 64 * encoders.size()}};
  if (numbers > 0)
    unet.update({{"use_linear_projection", true},
                 {"addition_embed_type", "text_time"},
                 {"addition_time_embed_dim", 256},
                 {"projection_class_embeddings_input_dim", 32 + 256 * numbers}});
  ModelConfig config;
  config.text_encoders = encoders;
  config.unet = parse_unet_config(unet);
  config.vae = parse_vae_config({{"block_out_channels", {32, 32}},
                                 {"down_block_types", std::vector<std::string>(2, "DownEncoderBlock2D")},
                                 {"up_block_types", std::vector<std::string>(2, "UpDecoderBlock2D")}});
  Weights file;
  for (const auto& [key, shape] : shapes_of(config)) file[key] = at::full(shape.sizes(), 0.25, at::kHalf);
  return file;
}

std::shared_ptr<const Model> loaded_alone(const Weights& tensors) {
  const ScratchFolder scratch;
  const std::string path = (scratch / "model.safetensors").string();
  write_safetensors({tensors.begin(), tensors.end()}, path);
  return load_model(ModelSource{path, ""});
}

std::vector<std::int64_t> first_ids(const Tokenizer& tokenizer, const std::string& text, std::ptrdiff_t count) {
  const auto ids = tokenizer.encode(text);
  return {ids.begin(), ids.begin() + count};
}

TEST(SingleFile, NeedsNoConfigWhereSizesAreAsPublished) {
  const auto ip2p = loaded_alone(small_file({small_text(false, false)}, 8, 0));
  EXPECT_EQ(ip2p->config.unet.block_out_channels, (std::vector<std::int64_t>{64, 128}));
  EXPECT_EQ(ip2p->config.unet.num_attention_heads, (std::vector<std::int64_t>{8, 8}));
  EXPECT_EQ(ip2p->config.scheduler.at("_class_name"), "EulerAncestralDiscreteScheduler");
  EXPECT_TRUE(ip2p->config.takes_source_as_condition());
  EXPECT_FALSE(ip2p->config.is_cosxl_edit);
  EXPECT_EQ(first_ids(ip2p->tokenizers.at(0), "a photo of a cat", 8),
            (std::vector<std::int64_t>{49406, 320, 1125, 539, 320, 2368, 49407, 49407}));
  EXPECT_EQ(first_ids(ip2p->tokenizers.at(0), "A cat!! isn't it?", 10),
            (std::vector<std::int64_t>{49406, 320, 2368, 748, 2923, 713, 585, 286, 49407, 49407}));
}

TEST(SingleFile, OpenClipEndsOneLayerEarlyAndPadsWithTheExclamationMark) {
  const auto model = loaded_alone(small_file({small_text(true, false)}, 4, 0));
  EXPECT_EQ(model->config.text_encoders.at(0).num_hidden_layers, 1);  // of the two that the file has
  EXPECT_EQ(model->config.text_encoders.at(0).hidden_act, "gelu");
  EXPECT_EQ(first_ids(model->tokenizers.at(0), "A cat!! isn't it? caf\u00e9", 13),
            (std::vector<std::int64_t>{49406, 320, 2368, 0, 0, 2923, 713, 585, 286, 15304, 49407, 0, 0}));
}

TEST(SingleFile, SdxlItsRefinerAndCosXlAreToldApart) {
  Weights base = small_file({small_text(false, false), small_text(true, true)}, 8, 6);
  const auto sdxl = loaded_alone(base);
  EXPECT_EQ(sdxl->config.scheduler.at("_class_name"), "EulerDiscreteScheduler");
  EXPECT_EQ(sdxl->config.text_encoders.at(1).num_hidden_layers, 2);
  EXPECT_EQ(sdxl->config.unet.num_attention_heads, (std::vector<std::int64_t>{1, 2}));
  EXPECT_FALSE(sdxl->config.requires_aesthetics_score);
  EXPECT_FALSE(sdxl->config.is_cosxl_edit);
  EXPECT_EQ(first_ids(sdxl->tokenizers.at(0), "cat", 4), (std::vector<std::int64_t>{49406, 2368, 49407, 49407}));
  EXPECT_EQ(first_ids(sdxl->tokenizers.at(1), "cat", 4), (std::vector<std::int64_t>{49406, 2368, 49407, 0}));

  base["edm_vpred.sigma_max"] = at::tensor(120.0f);
  base["edm_vpred.sigma_min"] = at::tensor(0.002f);
  const auto cosxl = loaded_alone(base);
  EXPECT_TRUE(cosxl->config.is_cosxl_edit);
  EXPECT_EQ(cosxl->config.scheduler.at("_class_name"), "EDMEulerScheduler");

  const auto refiner = loaded_alone(small_file({small_text(true, true)}, 4, 5));
  EXPECT_TRUE(refiner->config.requires_aesthetics_score);
  EXPECT_EQ(refiner->config.vae.scaling_factor, 0.13025);
  EXPECT_EQ(refiner->text_encoder_weights.size(), 1u);
}

TEST(SingleFile, PartsOfAConfigFolderSuffice) {
  const ScratchFolder scratch;
  const std::string path = (scratch / "model.safetensors").string();
  const Weights tensors = small_file({small_text(false, false)}, 4, 0);
  write_safetensors({tensors.begin(), tensors.end()}, path);
  fs::create_directories(scratch / "config/scheduler");
  const std::string folder = (scratch / "config").string();
  expect_contains(failure_of([&] { load_model(ModelSource{path, folder}); }, ErrorCode::kUsage), "has none of");
  expect_contains(failure_of(
                      [&] {
                        load_model(ModelSource{path, folder + "/none"});
                      },
                      ErrorCode::kUsage),
                  "has none of");
  std::ofstream(folder + "/scheduler/scheduler_config.json") << R"({"_class_name": "LCMScheduler"})";
  EXPECT_EQ(load_model(ModelSource{path, folder})->config.scheduler.at("_class_name"), "LCMScheduler");
  EXPECT_EQ(load_model(path)->config.scheduler.at("_class_name"), "PNDMScheduler");
  expect_contains(failure_of([&] { load_model(ModelSource{"scenes", folder}); }, ErrorCode::kUsage), "is none");
}

// -------------------------------------------------------------------------------------------------------- what is
// wrong

class BrokenSingleFile : public testing::Test {
 protected:
  BrokenSingleFile() : tensors_(tensors_of("sd21-v", *load_model(folder_of("sd21-v")))) {}

  std::string path() const { return (scratch_ / "model.safetensors").string(); }
  std::string failure() const {
    write_safetensors({tensors_.begin(), tensors_.end()}, path());
    const std::string what = failure_of([&] { load_model(ModelSource{path(), folder_of("sd21-v")}); });
    if (what != "no error") expect_contains(what, path());
    return what;
  }
  std::string failure_of_keys(const std::vector<std::string>& keys) const {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& key : keys) tensors.emplace_back(key, at::ones(1));
    write_safetensors(tensors, path());
    return failure_of([&] { load_model(path()); });
  }

  ScratchFolder scratch_;
  Weights tensors_;
};

TEST_F(BrokenSingleFile, EverythingThatDoesNotFitIsOneErrorInTheFilesOwnNames) {
  ASSERT_EQ(failure(), "no error");
  const std::string unet = "model.diffusion_model.", text = "cond_stage_model.model.", vae = "first_stage_model.";
  tensors_.erase(unet + "input_blocks.0.0.bias");
  tensors_.erase(text + "transformer.resblocks.1.attn.in_proj_weight");
  tensors_[vae + "decoder.up.0.block.0.norm1.weight"] = at::ones(5);
  tensors_[vae + "encoder.mid.attn_1.q.weight"] = at::ones({16, 16, 3, 3});
  tensors_[unet + "out.2.bias"] = at::ones(4, at::kInt);
  tensors_[unet + "stray.weight"] = at::ones(1);
  tensors_["optimizer.state"] = at::ones(1);
  tensors_[text + "transformer.resblocks.4.ln_1.weight"] = at::ones(40);  // one layer more than OpenCLIP's last
  const std::string what = failure();
  expect_contains(what, "8 tensors do not fit");
  expect_contains(what, "unet: model.diffusion_model.input_blocks.0.0.bias is missing");
  expect_contains(what, "text_encoder: cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight is missing");
  expect_contains(what, "vae: first_stage_model.decoder.up.0.block.0.norm1.weight is [5], its config needs [8]");
  expect_contains(what, "attn_1.q.weight is [16,16,3,3], its config needs [16,16,1,1]");
  expect_contains(what, "unet: model.diffusion_model.out.2.bias holds Int, not floating point");
  expect_contains(what, "model.diffusion_model.stray.weight is unknown");
  expect_contains(what, "optimizer.state is unknown");
  expect_contains(what, "cond_stage_model.model.transformer.resblocks.4.ln_1.weight is unknown");
}

TEST_F(BrokenSingleFile, LinearAttentionOfTheVaeAndNamesWithoutTextModelLoad) {
  for (auto& [key, tensor] : tensors_)
    if (key.find(".mid.attn_1.") != key.npos && tensor.dim() == 4) tensor = tensor.flatten(1);
  EXPECT_EQ(failure(), "no error");

  Weights without_prefix;
  for (const auto& [key, tensor] : tensors_of("sd15", *load_model(folder_of("sd15")))) {
    std::string name = key;
    if (const auto at = name.find("text_model."); at != name.npos) name.erase(at, std::strlen("text_model."));
    without_prefix[name] = tensor;
  }
  write_safetensors({without_prefix.begin(), without_prefix.end()}, path());
  EXPECT_EQ(failure_of([&] { load_model(ModelSource{path(), folder_of("sd15")}); }), "no error");
}

TEST_F(BrokenSingleFile, OtherKindsOfFilesAreNamed) {
  expect_contains(failure_of_keys({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"}), "use --lora");
  expect_contains(failure_of_keys({"unet.down_blocks.0.attentions.0.proj_in.lora_A.weight"}), "this is a LoRA file");
  expect_contains(failure_of_keys({"unet.mid_block.attentions.0.to_q_lora.up.weight"}), "this is a LoRA file");
  expect_contains(failure_of_keys({"conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"}),
                  "holds a UNet in diffusers'");
  expect_contains(failure_of_keys({"encoder.down_blocks.0.resnets.0.conv1.weight"}), "holds a VAE in diffusers'");
  expect_contains(failure_of_keys({"text_model.embeddings.token_embedding.weight"}), "holds a text encoder");
  expect_contains(failure_of_keys({"encoder.down.0.block.0.conv1.weight"}), "holds a VAE alone");
  expect_contains(failure_of_keys({"input_blocks.0.0.weight"}), "holds a UNet alone");
  expect_contains(failure_of_keys({"control_model.input_blocks.0.0.weight"}), "holds a ControlNet");
  expect_contains(failure_of_keys({"model.diffusion_model.joint_blocks.0.x.weight"}), "a diffusion transformer");
  expect_contains(failure_of_keys({"model.diffusion_model.input_blocks.0.0.weight"}),
                  "it has no VAE (first_stage_model.*), no text encoder");
  expect_contains(failure_of_keys({"emb_params"}), "it has no UNet (model.diffusion_model.*), no VAE");
  expect_contains(failure_of_keys({}), "is no Stable Diffusion checkpoint");
  for (const char* part : {"unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"})
    expect_contains(failure_of([&] { load_model(folder_of("sd21-v") + "/" + part + ".safetensors"); }),
                    "a part of a model");
}

TEST_F(BrokenSingleFile, DamagedAndMissingFilesAreRefused) {
  failure();
  fs::resize_file(path(), fs::file_size(path()) / 2);
  expect_contains(failure_of([&] { load_model(path()); }), "ends at byte");
  expect_contains(failure_of([&] { load_model((scratch_ / "none.safetensors").string()); }), "cannot be opened");
  std::ofstream(scratch_ / "v1-5.ckpt", std::ios::binary) << "PK\x03\x04 and so on";
  expect_contains(failure_of([&] { load_model((scratch_ / "v1-5.ckpt").string()); }), "is a pickle");
  std::ofstream(scratch_ / "unet.safetensors") << "";
  expect_contains(failure_of([&] { load_model((scratch_ / "").string()); }),
                  "for a model in a single file give the file");
}

}  // namespace
}  // namespace i2i
