// The configurations of the synthetic models: those published with SD 1.5, SD 2.1, SDXL and InstructPix2Pix, and small
// ones of the same five families.
#include "interface/published_schedulers.h"
#include "interface/synthetic_model.h"

namespace i2i {
namespace {

using Json = nlohmann::json;

TextEncoderConfig clip_large() {
  return parse_text_encoder_config({{"hidden_size", 768},
                                    {"intermediate_size", 3072},
                                    {"num_attention_heads", 12},
                                    {"projection_dim", 768},
                                    {"eos_token_id", 2}});
}

TextEncoderConfig open_clip_huge() {
  return parse_text_encoder_config({{"hidden_size", 1024},
                                    {"intermediate_size", 4096},
                                    {"num_attention_heads", 16},
                                    {"num_hidden_layers", 23},
                                    {"hidden_act", "gelu"},
                                    {"eos_token_id", 2}});
}

TextEncoderConfig open_clip_giant() {
  return parse_text_encoder_config({{"architectures", Json::array({"CLIPTextModelWithProjection"})},
                                    {"hidden_size", 1280},
                                    {"intermediate_size", 5120},
                                    {"num_attention_heads", 20},
                                    {"num_hidden_layers", 32},
                                    {"projection_dim", 1280},
                                    {"hidden_act", "gelu"},
                                    {"eos_token_id", 2}});
}

VaeConfig published_vae(double scaling_factor) {
  return parse_vae_config({{"block_out_channels", {128, 256, 512, 512}},
                           {"down_block_types", std::vector<std::string>(4, "DownEncoderBlock2D")},
                           {"up_block_types", std::vector<std::string>(4, "UpDecoderBlock2D")},
                           {"layers_per_block", 2},
                           {"scaling_factor", scaling_factor}});
}

ModelConfig sd15() {
  ModelConfig model;
  model.text_encoders = {clip_large()};
  model.unet = parse_unet_config({{"cross_attention_dim", 768}, {"sample_size", 64}});
  model.vae = published_vae(0.18215);
  model.scheduler = sd15_scheduler();
  return model;
}

ModelConfig sd21() {
  ModelConfig model;
  model.text_encoders = {open_clip_huge()};
  model.unet = parse_unet_config({{"attention_head_dim", {5, 10, 20, 20}},
                                  {"cross_attention_dim", 1024},
                                  {"sample_size", 96},
                                  {"use_linear_projection", true}});
  model.vae = published_vae(0.18215);
  model.scheduler = sd21_scheduler();
  return model;
}

ModelConfig sdxl() {
  ModelConfig model;
  model.text_encoders = {clip_large(), open_clip_giant()};
  model.unet = parse_unet_config({{"block_out_channels", {320, 640, 1280}},
                                  {"down_block_types", {"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"}},
                                  {"up_block_types", {"CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"}},
                                  {"attention_head_dim", {5, 10, 20}},
                                  {"transformer_layers_per_block", {1, 2, 10}},
                                  {"cross_attention_dim", 2048},
                                  {"sample_size", 128},
                                  {"use_linear_projection", true},
                                  {"addition_embed_type", "text_time"},
                                  {"addition_time_embed_dim", 256},
                                  {"projection_class_embeddings_input_dim", 2816}});
  model.vae = published_vae(0.13025);
  model.scheduler = sdxl_scheduler();
  return model;
}

/// InstructPix2Pix is the same network with four more channels at its entry.
ModelConfig with_source_channels(ModelConfig model) {
  model.unet.in_channels = 8;
  return model;
}

ModelConfig sd15_ip2p() {
  ModelConfig model = with_source_channels(sd15());
  model.scheduler = instruct_pix2pix_scheduler();
  return model;
}

ModelConfig sdxl_ip2p() { return with_source_channels(sdxl()); }

Json tiny_text(bool exact_gelu) {
  return {{"vocab_size", 520},        {"hidden_size", 32},
          {"intermediate_size", 64},  {"num_hidden_layers", 2},
          {"num_attention_heads", 4}, {"projection_dim", 32},
          {"eos_token_id", 519},      {"hidden_act", exact_gelu ? "gelu" : "quick_gelu"}};
}

VaeConfig tiny_vae() {
  return parse_vae_config({{"block_out_channels", {16, 32, 32}},
                           {"down_block_types", std::vector<std::string>(3, "DownEncoderBlock2D")},
                           {"up_block_types", std::vector<std::string>(3, "UpDecoderBlock2D")},
                           {"norm_num_groups", 8}});
}

Json tiny_unet() {
  return {{"block_out_channels", {16, 32}},
          {"down_block_types", {"CrossAttnDownBlock2D", "DownBlock2D"}},
          {"up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D"}},
          {"layers_per_block", 1},
          {"attention_head_dim", 2},
          {"cross_attention_dim", 32},
          {"norm_num_groups", 8},
          {"sample_size", 16}};
}

ModelConfig tiny_sd15() {
  ModelConfig model = sd15();
  model.text_encoders = {parse_text_encoder_config(tiny_text(false))};
  model.unet = parse_unet_config(tiny_unet());
  model.vae = tiny_vae();
  return model;
}

ModelConfig tiny_sd21() {
  ModelConfig model = sd21();
  Json unet = tiny_unet();
  unet.update({{"use_linear_projection", true}, {"attention_head_dim", {2, 4}}});
  model.text_encoders = {parse_text_encoder_config(tiny_text(true))};
  model.unet = parse_unet_config(unet);
  model.vae = tiny_vae();
  return model;
}

ModelConfig tiny_sdxl() {
  ModelConfig model = sdxl();
  Json second = tiny_text(true);
  second["architectures"] = Json::array({"CLIPTextModelWithProjection"});
  Json unet = tiny_unet();
  unet.update({{"down_block_types", {"DownBlock2D", "CrossAttnDownBlock2D"}},
               {"up_block_types", {"CrossAttnUpBlock2D", "UpBlock2D"}},
               {"use_linear_projection", true},
               {"attention_head_dim", {2, 4}},
               {"transformer_layers_per_block", {1, 2}},
               {"cross_attention_dim", 64},
               {"addition_embed_type", "text_time"},
               {"addition_time_embed_dim", 8},
               {"projection_class_embeddings_input_dim", 6 * 8 + 32}});
  model.text_encoders = {parse_text_encoder_config(tiny_text(false)), parse_text_encoder_config(second)};
  model.unet = parse_unet_config(unet);
  model.vae = tiny_vae();
  model.vae.scaling_factor = 0.13025;
  return model;
}

ModelConfig tiny_sd15_ip2p() {
  ModelConfig model = with_source_channels(tiny_sd15());
  model.scheduler = sd15_ip2p().scheduler;
  return model;
}

ModelConfig tiny_sdxl_ip2p() { return with_source_channels(tiny_sdxl()); }

}  // namespace

const std::vector<SyntheticModel>& synthetic_models() {
  static const std::vector<SyntheticModel> models = {
      {"synthetic:sd15", "Stable Diffusion 1.5's sizes with seeded weights: for time and memory.", sd15},
      {"synthetic:sd21", "Stable Diffusion 2.1's sizes (v prediction) with seeded weights.", sd21},
      {"synthetic:sdxl", "Stable Diffusion XL's sizes with seeded weights.", sdxl},
      {"synthetic:sd15-ip2p", "InstructPix2Pix's sizes (SD 1.5 with 8 channels) with seeded weights.", sd15_ip2p},
      {"synthetic:sdxl-ip2p", "SDXL InstructPix2Pix's sizes (8 channels) with seeded weights.", sdxl_ip2p},
      {"synthetic:tiny-sd15", "SD 1.5's structure in miniature.", tiny_sd15},
      {"synthetic:tiny-sd21", "SD 2.1's structure in miniature.", tiny_sd21},
      {"synthetic:tiny-sdxl", "SDXL's structure in miniature.", tiny_sdxl},
      {"synthetic:tiny-sd15-ip2p", "InstructPix2Pix's structure in miniature.", tiny_sd15_ip2p},
      {"synthetic:tiny-sdxl-ip2p", "SDXL InstructPix2Pix's structure in miniature.", tiny_sdxl_ip2p},
  };
  return models;
}

}  // namespace i2i
