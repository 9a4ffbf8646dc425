// Promise: a LoRA file adds weight * (alpha / rank) * up @ down to the weights that it names, whatever the spelling of
// its keys, and to no others; what does not fit is said all at once, by name.
#include "interface/lora.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <set>

#include "interface/error.h"
#include "interface/lora_names.h"
#include "interface/synthetic_model.h"
#include "tests/failures.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

at::Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  at::manual_seed(seed);
  return at::randn(shape) * 0.3;
}

/// Linear, convolution 1 x 1, convolution 3 x 3, and a text encoder's linear.
struct Adapted {
  std::string component, module;
  std::int64_t rank;
};
const std::vector<Adapted> kAdapted = {{"unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 4},
                                       {"unet", "up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_out.0", 2},
                                       {"unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_v", 40},
                                       {"text_encoder", "encoder.layers.1.self_attn.q_proj", 3},
                                       {"text_encoder", "encoder.layers.0.self_attn.out_proj", 5}};
const std::vector<Adapted> kMore = {{"unet", "conv_in", 4},
                                    {"unet", "down_blocks.0.attentions.0.proj_in", 2},
                                    {"unet", "down_blocks.0.downsamplers.0.conv", 3},
                                    {"unet", "up_blocks.0.upsamplers.0.conv", 3},
                                    {"unet", "up_blocks.1.resnets.0.conv_shortcut", 2},
                                    {"unet", "mid_block.resnets.1.time_emb_proj", 1},
                                    {"unet", "time_embedding.linear_2", 2},
                                    {"unet", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", 6},
                                    {"text_encoder", "encoder.layers.1.mlp.fc2", 2}};

class Lora : public testing::Test {
 protected:
  static const Model& model() { return *shared_model(); }
  static std::shared_ptr<const Model> shared_model() {
    static const auto loaded = load_model("synthetic:tiny-sd15");
    return loaded;
  }
  static const at::Tensor& weight(const Model& of, const std::string& component, const std::string& module) {
    return (component == "unet" ? of.unet_weights : of.text_encoder_weights.at(0)).at(module + ".weight");
  }

  std::string file(const std::string& name = "lora.safetensors") const { return (folder_ / name).string(); }

  std::string write(const Tensors& tensors, const std::string& name = "lora.safetensors",
                    const json& metadata = json()) const {
    write_safetensors(tensors, file(name));
    if (!metadata.is_null()) {
      std::string bytes = read(file(name));
      std::uint64_t length = 0;
      std::memcpy(&length, bytes.data(), sizeof length);
      json header = json::parse(bytes.substr(sizeof length, length));
      header["__metadata__"] = metadata;
      std::string text = header.dump();
      text.resize((text.size() + 7) / 8 * 8, ' ');
      const std::uint64_t now = text.size();
      overwrite(
          std::string(reinterpret_cast<const char*>(&now), sizeof now) + text + bytes.substr(sizeof length + length),
          name);
    }
    return file(name);
  }
  void overwrite(const std::string& bytes, const std::string& name = "lora.safetensors") const {
    std::ofstream(file(name), std::ios::binary) << bytes;
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::shared_ptr<const Model> merge(const Tensors& tensors, double weight = 1) const {
    return with_loras(shared_model(), {{write(tensors), weight}});
  }
  std::string failure(const std::function<void()>& action, ErrorCode code = ErrorCode::kGenerationFailed) const {
    std::string what = i2i::failure_of(action, code);
    if (const auto at = what.find(folder_.string() + "/"); at != what.npos) what.erase(at, folder_.string().size() + 1);
    return what;
  }
  std::string failure_of(const Tensors& tensors) const {
    return failure([&] { merge(tensors); });
  }

  const ScratchFolder scratch_;
  const fs::path folder_ = scratch_.path();
};

at::Tensor down_of(const Adapted& one, const at::Tensor& weight, std::uint64_t seed = 1) {
  auto shape = weight.sizes().vec();
  shape[0] = one.rank;
  return random(shape, seed);
}
at::Tensor up_of(const Adapted& one, const at::Tensor& weight, std::uint64_t seed = 2) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(weight.dim()), 1);
  shape[0] = weight.size(0);
  shape[1] = one.rank;
  return random(shape, seed);
}

/// By sums over the rank, in float64.
at::Tensor expected(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scale) {
  at::Tensor sum = weight.to(at::kDouble).clone();
  for (std::int64_t r = 0; r < down.size(0); ++r) {
    const at::Tensor column = up.to(at::kDouble).reshape({up.size(0), -1}).select(1, r);
    std::vector<std::int64_t> along(static_cast<std::size_t>(weight.dim()), 1);
    along[0] = -1;
    sum += scale * column.reshape(along) * down.to(at::kDouble)[r].unsqueeze(0);
  }
  return sum;
}

/// How one file form spells a module's keys: {down, up, alpha}.
using Spell = std::function<std::array<std::string, 3>(const Adapted&)>;

std::string underscored(std::string text) {
  std::replace(text.begin(), text.end(), '.', '_');
  return text;
}
std::string inside(const Adapted& one) { return one.component == "unet" ? "" : "text_model."; }

std::array<std::string, 3> kohya(const Adapted& one) {
  const std::string name =
      (one.component == "unet" ? "lora_unet_" : "lora_te_") + underscored(inside(one) + one.module);
  return {name + ".lora_down.weight", name + ".lora_up.weight", name + ".alpha"};
}
std::array<std::string, 3> dotted(const std::string& before, const Adapted& one, const std::string& down,
                                  const std::string& up) {
  const std::string name = before + inside(one) + one.module;
  return {name + down, name + up, name + ".alpha"};
}

Tensors file_of(const Spell& spell, const std::vector<Adapted>& adapted, const Model& model, bool with_alpha = true) {
  Tensors tensors;
  std::uint64_t seed = 10;
  for (const Adapted& one : adapted) {
    const auto& weights = one.component == "unet" ? model.unet_weights : model.text_encoder_weights.at(0);
    const at::Tensor& weight = weights.at(one.module + ".weight");
    const auto keys = spell(one);
    tensors.emplace_back(keys[0], down_of(one, weight, seed++));
    tensors.emplace_back(keys[1], up_of(one, weight, seed++));
    if (with_alpha) tensors.emplace_back(keys[2], at::scalar_tensor(2.5));
  }
  return tensors;
}

TEST_F(Lora, AddsWeightTimesAlphaOverRankTimesUpTimesDown) {
  std::vector<Adapted> all = kAdapted;
  all.insert(all.end(), kMore.begin(), kMore.end());
  const Tensors tensors = file_of(kohya, all, model());
  const auto merged = merge(tensors, -0.75);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const at::Tensor& before = weight(model(), all[i].component, all[i].module);
    const at::Tensor exact = expected(before, tensors[3 * i].second, tensors[3 * i + 1].second,
                                      -0.75 * 2.5 / static_cast<double>(all[i].rank));
    const at::Tensor& after = weight(*merged, all[i].component, all[i].module);
    EXPECT_EQ(after.scalar_type(), at::kFloat);
    ASSERT_EQ(after.sizes(), before.sizes());
    EXPECT_LT((after.to(at::kDouble) - exact).abs().max().item<double>(), 1e-6) << all[i].module;
    EXPECT_GT((after - before).abs().max().item<double>(), 1e-2) << all[i].module;
  }
}

TEST_F(Lora, EveryFormOfTheKeysGivesTheSameWeights) {
  const auto with_processor = [](const Adapted& one) {
    std::string name = inside(one) + one.module;
    for (const auto& [now, old] :
         {std::pair{"q_proj", "to_q"}, std::pair{"out_proj", "to_out"}, std::pair{"to_out.0", "to_out"}})
      if (name.ends_with(now)) name.replace(name.size() - std::strlen(now), std::string::npos, old);
    if (one.component == "unet") name.insert(name.rfind('.'), ".processor");
    name = one.component + "." + name;
    return std::array{name + "_lora.down.weight", name + "_lora.up.weight", name + ".alpha"};
  };
  const auto original = [](const Adapted& one) {
    if (one.component != "unet") return kohya(one);
    const std::string name = "lora_unet_" + underscored(original_unet_name(one.module, model().config.unet));
    return std::array{name + ".lora_down.weight", name + ".lora_up.weight", name + ".alpha"};
  };
  const auto te1 = [](const Adapted& one) {
    auto keys = kohya(one);
    for (std::string& key : keys)
      if (key.starts_with("lora_te_")) key.replace(0, 8, "lora_te1_");
    return keys;
  };
  const std::vector<std::pair<std::string, Spell>> forms = {
      {"kohya", kohya},
      {"kohya, original blocks", original},
      {"kohya, first of two text encoders", te1},
      {"PEFT", [](const Adapted& one) { return dotted(one.component + ".", one, ".lora_A.weight", ".lora_B.weight"); }},
      {"PEFT within",
       [](const Adapted& one) {
         return dotted(one.component + ".base_model.model.", one, ".lora_A.weight", ".lora_B.weight");
       }},
      {"PEFT alone",
       [](const Adapted& one) { return dotted("base_model.model.", one, ".lora_A.weight", ".lora_B.weight"); }},
      {"diffusers",
       [](const Adapted& one) { return dotted(one.component + ".", one, ".lora.down.weight", ".lora.up.weight"); }},
      {"diffusers, text encoders",
       [](const Adapted& one) {
         return dotted(one.component + ".", one, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight");
       }},
      {"diffusers, attention processors", with_processor}};
  overwrite(R"({"lora_alpha": 99, "r": 4})", "adapter_config.json");  // the alphas beside the factors go before it
  const auto first = merge(file_of(kohya, kAdapted, model()));
  std::set<std::string> seen;
  for (const auto& [name, spell] : forms) {
    SCOPED_TRACE(name);
    const Tensors tensors = file_of(spell, kAdapted, model());
    EXPECT_TRUE(seen.insert(tensors.front().first + tensors.back().first).second) << "a form that was tried before";
    const auto merged = merge(tensors);
    for (const auto& [key, tensor] : first->unet_weights)
      EXPECT_TRUE(at::allclose(tensor, merged->unet_weights.at(key), 1e-6, 1e-7)) << key;
    for (const auto& [key, tensor] : first->text_encoder_weights[0])
      EXPECT_TRUE(at::allclose(tensor, merged->text_encoder_weights[0].at(key), 1e-6, 1e-7)) << key;
  }
}

TEST_F(Lora, AlphaIsTheRankWhereNothingIsSaid) {
  const Adapted one{"unet", "conv_out", 3};
  const Tensors tensors = file_of(kohya, {one}, model(), false);
  const at::Tensor& before = weight(model(), "unet", "conv_out");
  const at::Tensor exact = expected(before, tensors[0].second, tensors[1].second, 1);
  EXPECT_LT((weight(*merge(tensors), "unet", "conv_out").to(at::kDouble) - exact).abs().max().item<double>(), 1e-6);
}

TEST_F(Lora, AlphaComesFromTheConfigurationInTheHeaderOrBesideTheFile) {
  const Adapted in{"unet", "conv_in", 4}, out{"unet", "conv_out", 4},
      text{"text_encoder", "encoder.layers.0.mlp.fc1", 4};
  const auto spell = [](const std::string& prefix) {
    return [prefix](const Adapted& one) {
      return dotted(prefix.empty() ? one.component + "." : prefix, one, ".lora_A.weight", ".lora_B.weight");
    };
  };
  const auto added = [&](const Model& merged, const Adapted& one) {
    const at::Tensor& before = weight(model(), one.component, one.module);
    return (weight(merged, one.component, one.module) - before).norm().item<double>();
  };
  const Tensors tensors = file_of(spell(""), {in, out, text}, model(), false);
  const auto plain = merge(tensors);  // alpha is 4 there

  const json said = {{"unet.r", 4},
                     {"unet.lora_alpha", 8},
                     {"unet.alpha_pattern", {{"^conv_out", 2}}},
                     {"text_encoder.lora_alpha", 6},
                     {"text_encoder.use_rslora", true}};
  const auto configured =
      with_loras(shared_model(), {{write(tensors, "c.safetensors", {{"lora_adapter_metadata", said.dump()}}), 1}});
  EXPECT_NEAR(added(*configured, in) / added(*plain, in), 8.0 / 4, 1e-5);
  EXPECT_NEAR(added(*configured, out) / added(*plain, out), 2.0 / 4, 1e-5);
  EXPECT_NEAR(added(*configured, text) / added(*plain, text), 6.0 / 2, 1e-5);

  overwrite(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 12, "alpha_pattern": {"layers.0.mlp.fc1": 1}})",
            "adapter_config.json");
  const auto beside = merge(file_of(spell("base_model.model."), {in, out, text}, model(), false));
  EXPECT_NEAR(added(*beside, in) / added(*plain, in), 12.0 / 4, 1e-5);
  EXPECT_NEAR(added(*beside, text) / added(*plain, text), 1.0 / 4, 1e-5);

  fs::remove(folder_ / "adapter_config.json");
  EXPECT_EQ(failure([&] { merge(file_of(spell("base_model.model."), {in}, model(), false)); }),
            "adapter_config.json: is not there, or is not a file");
  const auto refused = [&](const json& config) {
    return failure([&] {
      with_loras(shared_model(), {{write(tensors, "c.safetensors", {{"lora_adapter_metadata", config.dump()}}), 1}});
    });
  };
  EXPECT_EQ(refused({{"unet.use_dora", true}}), "c.safetensors lora_adapter_metadata: unet.use_dora is not supported");
  EXPECT_EQ(refused({{"unet.lora_alpha", "8"}}),
            "c.safetensors lora_adapter_metadata: unet.lora_alpha is \"8\", a number is needed");
  EXPECT_EQ(refused({{"unet.alpha_pattern", {{"conv.*", 8}}}}),
            "c.safetensors lora_adapter_metadata: unet.alpha_pattern: conv.* is no module's name");
}

TEST_F(Lora, LinearFactorsFitAConvolutionOfOneByOneAndTheOtherWayRound) {
  const Adapted one{"unet", "down_blocks.0.attentions.0.proj_in", 2};
  Tensors tensors = file_of(kohya, {one}, model());
  const auto as_convolution = merge(tensors);
  for (int i : {0, 1})
    tensors[static_cast<std::size_t>(i)].second = tensors[static_cast<std::size_t>(i)].second.flatten(1);
  EXPECT_TRUE(at::equal(weight(*as_convolution, "unet", one.module), weight(*merge(tensors), "unet", one.module)));

  const Adapted linear{"unet", "time_embedding.linear_1", 2};
  tensors = file_of(kohya, {linear}, model());
  const auto as_linear = merge(tensors);
  for (int i : {0, 1}) {
    at::Tensor& factor = tensors[static_cast<std::size_t>(i)].second;
    factor = factor.unsqueeze(2).unsqueeze(3);
  }
  EXPECT_TRUE(at::equal(weight(*as_linear, "unet", linear.module), weight(*merge(tensors), "unet", linear.module)));
}

TEST_F(Lora, SeveralFilesAddUpInAnyOrder) {
  const std::string a = write(file_of(kohya, kAdapted, model()), "a.safetensors");
  Tensors other = file_of(kohya, kAdapted, model());
  for (auto& [key, tensor] : other) tensor = tensor * 0.7;
  const std::string b = write(other, "b.safetensors");
  const auto ab = with_loras(shared_model(), {{a, 0.5}, {b, -1.5}});
  const auto ba = with_loras(shared_model(), {{b, -1.5}, {a, 0.5}});
  const auto only_a = with_loras(shared_model(), {{a, 0.5}}), only_b = with_loras(shared_model(), {{b, -1.5}});
  for (const Adapted& one : kAdapted) {
    const auto of = [&](const Model& merged) { return weight(merged, one.component, one.module).to(at::kDouble); };
    EXPECT_LT((of(*ab) - of(*ba)).abs().max().item<double>(), 1e-6) << one.module;
    EXPECT_LT((of(*ab) - (of(*only_a) + of(*only_b) - of(model()))).abs().max().item<double>(), 1e-6) << one.module;
  }
}

TEST_F(Lora, WhatIsNotAdaptedStaysWhereItWas) {
  const Tensors tensors = file_of(kohya, kAdapted, model());
  const auto merged = merge(tensors);
  std::set<std::string> adapted;
  for (const Adapted& one : kAdapted) adapted.insert(one.module + ".weight");
  for (const auto& [key, tensor] : model().unet_weights)
    EXPECT_EQ(merged->unet_weights.at(key).const_data_ptr() == tensor.const_data_ptr(), !adapted.contains(key)) << key;
  for (const auto& [key, tensor] : model().vae_weights)
    EXPECT_EQ(merged->vae_weights.at(key).const_data_ptr(), tensor.const_data_ptr()) << key;

  const auto unchanged = merge(tensors, 0);
  for (const auto& [key, tensor] : model().unet_weights)
    EXPECT_EQ(unchanged->unet_weights.at(key).const_data_ptr(), tensor.const_data_ptr()) << key;
  EXPECT_EQ(with_loras(shared_model(), {}), shared_model());
}

TEST_F(Lora, HalfPrecisionFactorsAndWeightsAreSummedInFloat32) {
  auto half = std::make_shared<Model>(model());
  at::Tensor& base = half->unet_weights.at("conv_in.weight");
  base = base.to(at::kHalf);
  Tensors tensors = file_of(kohya, {{"unet", "conv_in", 4}}, model());
  for (auto& [key, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  const auto merged = with_loras(half, {{write(tensors), 1}});
  const at::Tensor exact = expected(base, tensors[0].second, tensors[1].second, 2.5 / 4);
  EXPECT_LT((merged->unet_weights.at("conv_in.weight").to(at::kDouble) - exact).abs().max().item<double>(), 1e-6);
}

TEST_F(Lora, SecondTextEncoderIsFoundByItsName) {
  const auto sdxl = load_model("synthetic:tiny-sdxl");
  const std::string module = "encoder.layers.0.self_attn.k_proj";
  const Tensors tensors = {
      {"lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_down.weight", random({2, 32}, 1)},
      {"lora_te2_text_model_encoder_layers_0_self_attn_k_proj.lora_up.weight", random({32, 2}, 2)},
      {"lora_te2_text_projection.lora_down.weight", random({2, 32}, 3)},
      {"lora_te2_text_projection.lora_up.weight", random({32, 2}, 4)}};
  const auto merged = with_loras(sdxl, {{write(tensors), 1}});
  for (const std::string& key : {module + ".weight", std::string("text_projection.weight")})
    EXPECT_FALSE(at::equal(merged->text_encoder_weights[1].at(key), sdxl->text_encoder_weights[1].at(key))) << key;
  EXPECT_EQ(merged->text_encoder_weights[0].at(module + ".weight").const_data_ptr(),
            sdxl->text_encoder_weights[0].at(module + ".weight").const_data_ptr());
  const Tensors nameless = {{"base_model.model.text_model." + module + ".lora_A.weight", random({2, 32}, 1)}};
  EXPECT_EQ(failure([&] {
              with_loras(sdxl, {{write(nameless), 1}});
            }),
            "lora.safetensors: 1 of its tensors do not fit synthetic:tiny-sdxl: base_model.model.text_model." + module +
                ".lora_A.weight: could be of text_encoder or of text_encoder_2");
}

TEST_F(Lora, WhatDoesNotFitIsSaidAllAtOnce) {
  const at::Tensor nan = at::full({2, 4, 3, 3}, std::numeric_limits<float>::quiet_NaN());
  const std::string block = "lora_unet_mid_block_attentions_0_transformer_blocks_0_";
  EXPECT_EQ(failure_of({{"lora_unet_conv_in.lora_down.weight", nan},
                        {"lora_unet_conv_in.lora_up.weight", random({16, 2, 1, 1}, 1)},
                        {"lora_unet_conv_out.lora_down.weight", random({2, 16, 3, 3}, 1)},
                        {block + "attn1_to_k.alpha", at::scalar_tensor(1.0)},
                        {block + "attn1_to_q.dora_scale", random({32, 1}, 1)},
                        {block + "attn1_to_v.hada_w1_a", random({32, 2}, 1)},
                        {block + "attn2_to_k.lora_down.weight", random({3, 32}, 1)},
                        {block + "attn2_to_k.lora_up.weight", random({32, 4}, 1)},
                        {block + "attn2_to_q.lokr_w1", random({2, 2}, 1)},
                        {block + "attn2_to_v.lora_down.weight", random({4, 31}, 1)},
                        {block + "attn2_to_v.lora_up.weight", random({32, 4}, 1)},
                        {block + "ff_net_2.alpha", random({2}, 1)},
                        {block + "ff_net_2.lora_down.weight", random({4}, 1)},
                        {block + "ff_net_3.lora_down.weight", random({4, 128}, 1)},
                        {"lora_unet_time_embedding_linear_1.lora_down.weight", at::ones({1, 16}, at::kInt)},
                        {"unet.conv_in.lora_A.weight", random({2, 4, 3, 3}, 1)},
                        {"unet.conv_out.weight", random({2}, 1)}}),
            "lora.safetensors: 14 of its tensors do not fit synthetic:tiny-sd15: "
            "lora_unet_conv_in.lora_down.weight: holds NaN or infinity; " +
                block + "attn1_to_q.dora_scale: belongs to DoRA, which is not supported; " + block +
                "attn1_to_v.hada_w1_a: belongs to LoHa, which is not supported; " + block +
                "attn2_to_q.lokr_w1: belongs to LoKr, which is not supported; " + block +
                "ff_net_2.alpha: has shape [2], one number is needed; " + block +
                "ff_net_2.lora_down.weight: has shape [4], 2 or 4 sides are needed; " + block +
                "ff_net_3.lora_down.weight: leads to no tensor of the model; "
                "lora_unet_time_embedding_linear_1.lora_down.weight: holds Int, not floating point; "
                "unet.conv_in.lora_A.weight: leads to the same tensor as lora_unet_conv_in does; "
                "unet.conv_out.weight: is no part of a LoRA; "
                "lora_unet_conv_out: has no up weight beside its down weight; " +
                block + "attn1_to_k: has alpha and no weights; " + block +
                "attn2_to_k: has rank 3 and 4 (down [3,32], up [32,4]); " + block +
                "attn2_to_v: does not make a weight of [32,32] (down [4,31], up [32,4])");
}

TEST_F(Lora, UpAndDownSwappedDoNotFit) {
  EXPECT_EQ(failure_of({{"lora_unet_conv_out.lora_down.weight", random({4, 3, 1, 1}, 1)},
                        {"lora_unet_conv_out.lora_up.weight", random({3, 16, 3, 3}, 1)}}),
            "lora.safetensors: 1 of its tensors do not fit synthetic:tiny-sd15: lora_unet_conv_out: has rank 4 and 16 "
            "(down [4,3,1,1], up [3,16,3,3])");
  EXPECT_EQ(failure_of({{"lora_unet_conv_out.lora_down.weight", random({0, 16, 3, 3}, 1)},
                        {"lora_unet_conv_out.lora_up.weight", random({4, 0, 1, 1}, 1)}}),
            "lora.safetensors: 1 of its tensors do not fit synthetic:tiny-sd15: lora_unet_conv_out: has rank 0 and 0 "
            "(down [0,16,3,3], up [4,0,1,1])");
}

TEST_F(Lora, BrokenFilesAreNamed) {
  EXPECT_EQ(failure([&] {
              with_loras(shared_model(), {{file("none"), 1}});
            }),
            "none: cannot be opened: No such file or directory");
  const std::string whole = read(write(file_of(kohya, kAdapted, model())));
  overwrite(whole.substr(0, whole.size() - 10));
  EXPECT_NE(failure([&] { with_loras(shared_model(), {{file(), 1}}); }).find("ends at byte"), std::string::npos);
  overwrite(whole.substr(0, 5));
  EXPECT_EQ(failure([&] { with_loras(shared_model(), {{file(), 1}}); }), "lora.safetensors: has only 5 bytes");
  EXPECT_EQ(failure_of({}), "lora.safetensors: holds no tensors");
  EXPECT_EQ(failure([&] {
              merge(file_of(kohya, {{"unet", "conv_in", 4}}, model()), 1e300);
            }),
            "lora.safetensors: lora_unet_conv_in: the merged weight is not finite at weight 1e+300");
}

TEST(LoraNames, OriginalBlocksAreThoseOfThePublishedModels) {
  const auto config_of = [](const std::string& name) {
    for (const SyntheticModel& synthetic : synthetic_models())
      if (synthetic.name == name) return synthetic.config().unet;
    throw std::out_of_range(name);
  };
  // Names as they stand in published checkpoints (sd_xl_base_1.0, v1-5-pruned).
  const std::vector<std::tuple<std::string, std::string, std::string>> known = {
      {"sdxl", "conv_in", "input_blocks.0.0"},
      {"sdxl", "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
       "input_blocks.4.1.transformer_blocks.1.attn1.to_q"},
      {"sdxl", "down_blocks.1.downsamplers.0.conv", "input_blocks.6.0.op"},
      {"sdxl", "down_blocks.2.resnets.1.conv2", "input_blocks.8.0.out_layers.3"},
      {"sdxl", "mid_block.attentions.0.transformer_blocks.9.ff.net.2", "middle_block.1.transformer_blocks.9.ff.net.2"},
      {"sdxl", "mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"},
      {"sdxl", "up_blocks.1.attentions.2.proj_out", "output_blocks.5.1.proj_out"},
      {"sdxl", "up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"},
      {"sdxl", "up_blocks.2.resnets.2.conv_shortcut", "output_blocks.8.0.skip_connection"},
      {"sdxl", "add_embedding.linear_2", "label_emb.0.2"},
      {"sd15", "up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv"},
      {"sd15", "up_blocks.3.attentions.2.proj_in", "output_blocks.11.1.proj_in"},
      {"sd15", "down_blocks.3.resnets.1.conv1", "input_blocks.11.0.in_layers.2"},
      {"sd15", "conv_out", "out.2"}};
  for (const auto& [model, ours, theirs] : known)
    EXPECT_EQ(original_unet_name(ours, config_of("synthetic:" + model)), theirs);
  for (const char* model : {"synthetic:sd15", "synthetic:sdxl"}) {
    std::set<std::string> spellings;
    for (const auto& [name, shape] : unet_layout(config_of(model))) {
      if (shape.size() < 2) continue;
      const std::string module = name.substr(0, name.rfind('.'));
      EXPECT_TRUE(spellings.insert(underscored(module)).second) << module;
      EXPECT_TRUE(spellings.insert(underscored(original_unet_name(module, config_of(model)))).second) << module;
    }
    EXPECT_GT(spellings.size(), 500u);
  }
}

TEST_F(Lora, ItsTextIsAFileAndPerhapsAWeight) {
  const auto parsed = [](const std::string& text) {
    const LoraFile lora = parse_lora(text);
    return fmt::format("{} {}", lora.path, lora.weight);
  };
  EXPECT_EQ(parsed("a.safetensors"), "a.safetensors 1");
  EXPECT_EQ(parsed("a.safetensors:0.5"), "a.safetensors 0.5");
  EXPECT_EQ(parsed("x:y/a.safetensors:-2"), "x:y/a.safetensors -2");
  EXPECT_EQ(parsed("x:y/a.safetensors"), "x:y/a.safetensors 1");
  EXPECT_EQ(parsed("b:a.safetensors"), "b:a.safetensors 1");
  EXPECT_EQ(parse_lora(to_string({"b:c", 1.0 / 3})), (LoraFile{"b:c", 1.0 / 3}));
  const auto refused = [&](const std::string& text) { return failure([&] { parse_lora(text); }, ErrorCode::kUsage); };
  for (const std::string weight : {"", "much", "nan", "inf", "1e999", "1x", " 1"})
    EXPECT_EQ(refused("a.safetensors:" + weight),
              fmt::format("--lora a.safetensors:{}: \"{}\" is no finite weight", weight, weight));
  EXPECT_EQ(refused(""), "--lora : no file is named");
  EXPECT_EQ(refused(":1"), "--lora :1: no file is named");
}

// A file from a stranger is merged or refused; under the sanitizers nothing else can happen to it.
TEST_F(Lora, DamagedFilesAreMergedOrRefused) {
  const std::string whole = read(write(file_of(kohya, kAdapted, model())));
  std::uint64_t state = 7;
  const auto next = [&](std::size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % below;
  };
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (std::size_t changes = 1 + next(3); changes > 0; --changes)
      damaged[8 + next(1500)] = static_cast<char>(32 + next(95));
    overwrite(damaged);
    try {
      with_loras(shared_model(), {{file(), 1}});
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace i2i
