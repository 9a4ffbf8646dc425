// Model files: layouts equal diffusers' modules, safetensors are believed in nothing, folders load in every published
// spelling, and what is wrong with one is said all at once.
#include "interface/model_files.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "interface/error.h"
#include "interface/synthetic_model.h"
#include "tests/failures.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kGoldens = fs::path(I2I_SOURCE_DIR) / "datasets" / "goldens";

json read_json(const fs::path& path) {
  std::ifstream in(path);
  return json::parse(in);
}

class Folder : public testing::Test {
 protected:
  const ScratchFolder scratch_;
  const fs::path path_ = scratch_.path();
};

// ---------------------------------------------------------------------------------------------------------- layouts

std::vector<std::string> sorted_lines(const CheckpointLayout& layout) {
  std::vector<std::string> lines;
  for (const auto& [name, shape] : layout) lines.push_back(fmt::format("{} [{}]", name, fmt::join(shape, ",")));
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::string fingerprint(const std::vector<std::string>& lines) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::string& line : lines)
    for (const char c : line + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return fmt::format("{:016x}", hash);
}

CheckpointLayout layout_of(const std::string& kind, const json& config) {
  if (kind == "unet") return unet_layout(parse_unet_config(config));
  if (kind == "vae") return vae_layout(parse_vae_config(config));
  return text_encoder_layout(parse_text_encoder_config(config));
}

TEST(CheckpointLayout, EqualsTheModulesOfDiffusersAndTransformers) {
  const json rows = read_json(kGoldens / "layouts.json");
  ASSERT_GE(rows.size(), 100u);
  for (const json& row : rows) {
    const auto lines = sorted_lines(layout_of(row.at("kind").get<std::string>(), row.at("config")));
    EXPECT_EQ(lines.size(), row.at("tensors").get<std::size_t>()) << row.at("name") << row.at("config");
    EXPECT_EQ(fingerprint(lines), row.at("fingerprint").get<std::string>()) << row.at("name") << row.at("config");
    EXPECT_EQ(row.value("lines", json(lines)), json(lines)) << row.at("config");
  }
}

TEST(CheckpointLayout, SyntheticModelsHaveThePublishedSizes) {
  const json rows = read_json(kGoldens / "layouts.json");
  int compared = 0;
  for (const SyntheticModel& synthetic : synthetic_models()) {
    const ModelConfig config = synthetic.config();
    std::vector<std::string> ours;
    for (const TextEncoderConfig& encoder : config.text_encoders)
      ours.push_back(fingerprint(sorted_lines(text_encoder_layout(encoder))));
    ours.push_back(fingerprint(sorted_lines(unet_layout(config.unet))));
    ours.push_back(fingerprint(sorted_lines(vae_layout(config.vae))));
    std::vector<std::string> published;
    for (const json& row : rows)
      if (row.at("name") == synthetic.name) published.push_back(row.at("fingerprint").get<std::string>());
    if (published.empty()) continue;
    EXPECT_EQ(ours, published) << synthetic.name;
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

// ------------------------------------------------------------------------------------------------------ safetensors

std::string with_length(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

class Safetensors : public Folder {
 protected:
  std::string file() const { return (path_ / "t.safetensors").string(); }

  Weights read(const std::string& bytes) const {
    std::ofstream(file(), std::ios::binary) << bytes;
    return read_safetensors(file());
  }

  std::string failure(const std::string& header, std::size_t data_bytes = 8) const {
    const std::string what = failure_of([&] { read(with_length(header, std::string(data_bytes, 'x'))); });
    expect_contains(what, file());
    return what;
  }
};

TEST_F(Safetensors, WhatIsWrittenIsRead) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kLong})
    tensors.emplace_back(std::string("x.") + c10::toString(dtype), at::arange(6).view({2, 3}).to(dtype));
  tensors.emplace_back("scalar", at::tensor(3.5f).squeeze());
  tensors.emplace_back("empty", at::empty({0, 4}));
  tensors.emplace_back("transposed", at::arange(6).view({2, 3}).t());
  write_safetensors(tensors, file());
  const Weights weights = read_safetensors(file());
  ASSERT_EQ(weights.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(weights.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(weights.at(name).equal(tensor)) << name;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(path_), fs::directory_iterator()), 1);  // no temporary left
  expect_contains(failure_of([&] { write_safetensors({{"a", at::ones(1)}}, "/nowhere/t.safetensors"); }), "/nowhere");
}

TEST_F(Safetensors, EightBitFloatsAreRead) {
  // 1, -1.5 and the largest finite value of each form (OCP 8-bit floating point specification 1.0, section 5).
  const Weights weights = read(with_length(R"({"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},)"
                                           R"("b":{"dtype":"F8_E5M2","shape":[3],"data_offsets":[3,6]}})",
                                           "\x38\xbc\x7e\x3c\xbe\x7b"));
  EXPECT_TRUE(weights.at("a").to(at::kFloat).equal(at::tensor({1.0f, -1.5f, 448.0f})));
  EXPECT_TRUE(weights.at("b").to(at::kFloat).equal(at::tensor({1.0f, -1.5f, 57344.0f})));
}

TEST_F(Safetensors, HeadersOfManyValuesAreRefused) {
  std::string bomb = R"({"a":[)";
  for (int i = 0; i < 2'100'000; ++i) bomb += "0,";
  expect_contains(failure(bomb + "0]}"), "more than 1000000 values");
}

TEST_F(Safetensors, WhatIsNoFileIsRefused) {
  fs::create_symlink("loop.safetensors", path_ / "loop.safetensors");
  ASSERT_EQ(::mkfifo((path_ / "pipe").c_str(), 0600), 0);
  expect_contains(failure_of([&] { read_safetensors((path_ / "loop.safetensors").string()); }), "symbolic links");
  expect_contains(failure_of([&] { read_safetensors((path_ / "pipe").string()); }), "is not a file");
}

TEST_F(Safetensors, TensorsAliasTheMappingAndOutliveIt) {
  write_safetensors({{"a", at::arange(4, at::kFloat)}, {"b", at::arange(4, 8, at::kFloat)}}, file());
  at::Tensor b;
  {
    const Weights weights = read_safetensors(file());
    const auto distance = static_cast<const char*>(weights.at("b").const_data_ptr()) -
                          static_cast<const char*>(weights.at("a").const_data_ptr());
    EXPECT_EQ(distance, 16);
    b = weights.at("b");
  }
  fs::remove(file());
  EXPECT_EQ(b.sum().item<float>(), 22);
}

TEST_F(Safetensors, UnalignedTensorsAreCopied) {
  const float value = 1.25f;
  std::string data(5, '!');
  std::memcpy(data.data() + 1, &value, sizeof value);
  for (int padding = 0; padding < 8; ++padding) {
    const Weights weights = read(with_length(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})" +
                                                 std::string(static_cast<std::size_t>(padding), ' '),
                                             data));
    EXPECT_EQ(weights.at("b").item<float>(), value);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(weights.at("b").const_data_ptr()) % 4, 0u);
  }
}

TEST_F(Safetensors, MetadataIsSkipped) {
  EXPECT_TRUE(read(with_length(R"({"__metadata__":{"format":"pt"}})", "")).empty());
}

TEST_F(Safetensors, BrokenFilesAreRefusedWithTheReason) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
  };
  expect_contains(failure_of([&] { read("1234567"); }), "has only 7 bytes");
  expect_contains(failure_of([&] { read(""); }), "has only 0 bytes");
  expect_contains(failure_of([&] { read(std::string("\x09\0\0\0\0\0\0\0{}      ", 16)); }), "9 bytes; at most 8");
  expect_contains(failure_of([&] { read(std::string(8, '\xff') + "{}"); }), "at most 2");
  expect_contains(failure("{"), "is not JSON");
  expect_contains(failure("[]"), "not a JSON object");
  expect_contains(failure(R"({"a":)" + std::string(10000, '[') + std::string(10000, ']') + "}"), "nested more than");
  expect_contains(failure(R"({"a":1,"a":2})"), "\"a\" twice");
  expect_contains(failure(R"({"a":1})"), "has no dtype");
  expect_contains(failure(R"({"a":{"dtype":"F32","shape":[2]}})"), "has no data_offsets");
  expect_contains(failure(entry("F33", "[2]", "[0,8]")), "F33 is not supported");
  expect_contains(failure(entry("F32", "[-2]", "[0,8]")), "-2 is no size");
  expect_contains(failure(entry("F32", "[2.0]", "[0,8]")), "2.0 is no size");
  expect_contains(failure(entry("F32", "[2]", "[0,7]")), "do not fit its shape");
  expect_contains(failure(entry("F32", "[2]", "[8,0]")), "do not fit its shape");
  expect_contains(failure(entry("F32", "[2]", "[0]")), "wrong form");
  expect_contains(failure(entry("F32", "[4]", "[0,16]")), "ends at byte 16 of 8");
  expect_contains(failure(entry("F32", "[1]", "[4,8]")), "starts at byte 4");
  expect_contains(failure(entry("F32", "[1]", "[0,4]")), "4 bytes after its last tensor");
  expect_contains(failure(entry("F32", "[4611686018427387904,4]", "[0,0]")), "larger than any file");
  expect_contains(failure(entry("F32", "[4611686018427387904,4,0]", "[0,0]")), "larger than any file");
  expect_contains(failure(entry("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]")), "more than 8 dimensions");
  expect_contains(failure(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                          R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
                  "the one before ends at 4");
  expect_contains(failure_of([&] { read_safetensors(path_.string()); }), "is not a file");
  expect_contains(failure_of([&] { read_safetensors((path_ / "none").string()); }), "cannot be opened");
}

TEST_F(Safetensors, RandomDamageNeverCrashes) {
  write_safetensors({{"weight", at::ones({3, 4})}, {"bias", at::ones(4, at::kHalf)}}, file());
  std::ifstream in(file(), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 1 + i % 3; ++k) damaged[random() % 180] = static_cast<char>(random() % (i % 2 ? 256 : 128));
    if (i % 5 == 0) damaged.resize(random() % damaged.size());
    try {
      for (const auto& [name, tensor] : read(damaged)) EXPECT_EQ(tensor.clone().nbytes(), tensor.nbytes());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kGenerationFailed);
      ++refused;
    }
  }
  EXPECT_GT(refused, 200);
}

// ---------------------------------------------------------------------------------------------------------- folders

class ModelFolder : public Folder {
 protected:
  /// A copy of a golden model that a test may spoil. sd15 has "text_model." and the old VAE attention names.
  ModelFolder() { fs::copy(kGoldens / "models" / "sd15", path_ / "m", fs::copy_options::recursive); }

  fs::path model() const { return path_ / "m"; }
  fs::path unet() const { return model() / "unet" / "diffusion_pytorch_model.safetensors"; }
  fs::path vae() const { return model() / "vae" / "diffusion_pytorch_model.safetensors"; }
  std::string failure() const {
    return failure_of([&] { load_model(model().string()); });
  }

  template <typename Change>
  static void rewrite(const fs::path& file, const Change& change) {
    Weights weights = read_safetensors(file.string());
    change(weights);
    write_safetensors({weights.begin(), weights.end()}, file.string() + ".new");
    fs::rename(file.string() + ".new", file);
  }

  void change_config(const std::string& component, const json& changes) const {
    json config = read_json(model() / component / "config.json");
    config.update(changes);
    std::ofstream(model() / component / "config.json") << config;
  }
};

TEST_F(ModelFolder, OldNamesBecomeTodays) {
  bool old_vae = false;
  for (const auto& [key, tensor] : read_safetensors(vae().string())) old_vae |= key.find(".query.") != key.npos;
  ASSERT_TRUE(old_vae) << "the golden model is no longer what this test needs";
  rewrite(vae(), [](Weights& weights) {
    for (auto& [key, tensor] : weights)
      if (key.ends_with("proj_attn.weight")) tensor = tensor.unsqueeze(2).unsqueeze(3);
  });
  rewrite(model() / "text_encoder" / "model.safetensors",
          [](Weights& weights) { weights["text_model.embeddings.position_ids"] = at::arange(77).unsqueeze(0); });
  const auto loaded = load_model(model().string());
  EXPECT_EQ(loaded->vae_weights.at("encoder.mid_block.attentions.0.to_out.0.weight").dim(), 2);
  EXPECT_TRUE(loaded->text_encoder_weights.at(0).contains("final_layer_norm.weight"));
}

TEST_F(ModelFolder, EverythingThatDoesNotFitIsOneError) {
  rewrite(unet(), [](Weights& weights) {
    weights.erase("conv_in.bias");
    weights["conv_out.bias"] = at::ones(5);
    weights["conv_out.weight"] = weights["conv_out.weight"].to(at::kInt);
  });
  rewrite(vae(), [](Weights& weights) { weights["stray"] = at::ones(1); });
  rewrite(model() / "text_encoder" / "model.safetensors",
          [](Weights& weights) { weights.erase("text_model.final_layer_norm.bias"); });
  const std::string what = failure();
  expect_contains(what, "5 tensors do not fit");
  expect_contains(what, "unet: conv_in.bias is missing");
  expect_contains(what, "unet: conv_out.bias is [5], its config needs [4]");
  expect_contains(what, "unet: conv_out.weight holds Int");
  expect_contains(what, "vae: stray is unknown");
  expect_contains(what, "text_encoder: final_layer_norm.bias is missing");
}

TEST_F(ModelFolder, VariantsAndShardsLoad) {
  const auto original = load_model(model().string());
  fs::rename(unet(), unet().parent_path() / "diffusion_pytorch_model.fp16.safetensors");
  rewrite(vae(), [&](Weights& weights) {  // two shards
    std::vector<std::pair<std::string, at::Tensor>> first, second;
    json map = json::object();
    for (const auto& [key, tensor] : weights) {
      const bool in_first = first.size() < weights.size() / 2;
      (in_first ? first : second).emplace_back(key, tensor);
      map[key] = in_first ? "diffusion_pytorch_model-00001-of-00002.safetensors"
                          : "diffusion_pytorch_model-00002-of-00002.safetensors";
    }
    write_safetensors(first, (vae().parent_path() / "diffusion_pytorch_model-00001-of-00002.safetensors").string());
    write_safetensors(second, (vae().parent_path() / "diffusion_pytorch_model-00002-of-00002.safetensors").string());
    std::ofstream(vae().string() + ".index.json") << json{{"metadata", json::object()}, {"weight_map", map}};
  });
  fs::remove(vae());
  const auto loaded = load_model(model().string());
  ASSERT_EQ(loaded->vae_weights.size(), original->vae_weights.size());
  for (const auto& [key, tensor] : original->vae_weights) EXPECT_TRUE(loaded->vae_weights.at(key).equal(tensor)) << key;
  EXPECT_EQ(loaded->unet_weights.size(), original->unet_weights.size());

  fs::remove(vae().parent_path() / "diffusion_pytorch_model-00002-of-00002.safetensors");
  expect_contains(failure(), "diffusion_pytorch_model-00002-of-00002.safetensors: cannot be opened");
  std::ofstream(vae().string() + ".index.json") << R"({"weight_map": {"a": "../../secret.safetensors"}})";
  expect_contains(failure(), "which is no file name");
}

TEST_F(ModelFolder, EveryStorageHoldsTheSameNumbers) {
  const auto original = load_model(model().string());
  const fs::path variant = unet().parent_path() / "diffusion_pytorch_model.stored.safetensors";
  fs::remove(unet());
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    std::vector<std::pair<std::string, at::Tensor>> stored;
    for (const auto& [key, tensor] : original->unet_weights) stored.emplace_back(key, tensor.to(dtype));
    write_safetensors(stored, variant.string());
    const auto loaded = load_model(model().string());
    ASSERT_EQ(loaded->unet_weights.size(), stored.size());
    for (const auto& [key, tensor] : stored) {
      EXPECT_EQ(loaded->unet_weights.at(key).scalar_type(), dtype) << key;
      EXPECT_TRUE(loaded->unet_weights.at(key).to(at::kFloat).equal(tensor.to(at::kFloat))) << key;
    }
  }
}

TEST_F(ModelFolder, WhatStandsInThePlaceOfAFileIsNamed) {
  const auto replaced = [&](const fs::path& file, const auto& make) {
    fs::rename(file, path_ / "aside");
    make(file);
    const std::string what = failure();
    expect_contains(what, file.string());
    fs::remove(file);
    fs::rename(path_ / "aside", file);
    return what;
  };
  const auto loop = [](const fs::path& file) { fs::create_symlink(file.filename(), file); };
  const auto dangling = [](const fs::path& file) { fs::create_symlink("nowhere", file); };
  const auto folder = [](const fs::path& file) { fs::create_directory(file); };
  const auto pipe = [](const fs::path& file) { ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0); };
  expect_contains(replaced(unet(), loop), "Too many levels of symbolic links");
  expect_contains(replaced(unet(), dangling), "No such file");
  expect_contains(replaced(vae(), folder), "is not a file");
  expect_contains(replaced(vae(), pipe), "is not a file");
  for (const char* config : {"model_index.json", "unet/config.json", "tokenizer/vocab.json"}) {
    expect_contains(replaced(model() / config, loop), "is not a file");
    expect_contains(replaced(model() / config, dangling), "is not a file");
    expect_contains(replaced(model() / config, folder), "is not a file");
    expect_contains(replaced(model() / config, pipe), "is not a file");
  }
}

TEST_F(ModelFolder, SparseConfigsMeanClassDefaults) {
  const auto reduce = [&](const std::string& component, const std::vector<std::string>& keys) {
    json config = read_json(model() / component / "config.json");
    for (const std::string& key : keys) config.erase(key);
    std::ofstream(model() / component / "config.json") << config;
  };
  reduce("unet", {"norm_eps", "flip_sin_to_cos", "freq_shift", "use_linear_projection", "mid_block_type"});
  reduce("vae", {"scaling_factor", "force_upcast"});
  const auto loaded = load_model(model().string());
  EXPECT_EQ(loaded->config.unet.norm_eps, 1e-5);
  EXPECT_TRUE(loaded->config.unet.flip_sin_to_cos);
  EXPECT_FALSE(loaded->config.unet.use_linear_projection);
  EXPECT_EQ(loaded->config.vae.scaling_factor, 0.18215);
  EXPECT_TRUE(loaded->config.vae.force_upcast);
}

TEST_F(ModelFolder, WhatIsNotSupportedIsRefusedByName) {
  const std::vector<std::tuple<std::string, json, std::string>> faults = {
      {"unet", {{"in_channels", 9}}, "in_channels is 9: 4 or 8"},
      {"unet", {{"act_fn", "gelu"}}, "act_fn"},
      {"unet", {{"class_embed_type", "timestep"}}, "class_embed_type"},
      {"unet", {{"down_block_types", {"AttnDownBlock2D", "DownBlock2D"}}}, "AttnDownBlock2D is not supported"},
      {"unet", {{"attention_head_dim", 0}}, "attention_head_dim"},
      {"unet", {{"attention_head_dim", 7}}, "attention_head_dim"},
      {"unet", {{"layers_per_block", {1, 2, 3, 4, 5}}}, "one per block"},
      {"unet", {{"norm_num_groups", 5}}, "norm_num_groups"},
      {"unet", {{"norm_num_groups", "8"}}, "norm_num_groups"},
      {"unet", {{"cross_attention_dim", 48}}, "attn2.to_k.weight"},
      {"unet", {{"addition_embed_type", "image"}}, "addition_embed_type"},
      {"vae", {{"latent_channels", 16}}, "latent_channels is 16"},
      {"vae", {{"layers_per_block", -1}}, "layers_per_block is -1"},
      {"vae", {{"layers_per_block", 1e300}}, "layers_per_block"},
      {"vae", {{"layers_per_block", 16777216}}, "layers_per_block is 16777216: at most 16 layers"},
      {"unet", {{"layers_per_block", 16777216}}, "layers_per_block is 16777216: at most 16 layers"},
      {"unet", {{"transformer_layers_per_block", {1, 49}}}, "at most 48 layers"},
      {"text_encoder", {{"num_hidden_layers", 16777216}}, "num_hidden_layers is 16777216: at most 200 layers"},
      {"vae", {{"latents_mean", {0.0, 1.0}}}, "latents_mean"},
      {"text_encoder", {{"hidden_act", "relu"}}, "hidden_act is \"relu\""},
      {"text_encoder", {{"num_attention_heads", 3}}, "num_attention_heads"},
      {"text_encoder", {{"vocab_size", 5}}, "token_embedding.weight"},
  };
  for (const auto& [component, change, expected] : faults) {
    const json before = read_json(model() / component / "config.json");
    change_config(component, change);
    expect_contains(failure(), expected);
    std::ofstream(model() / component / "config.json") << before;
  }
  EXPECT_EQ(failure(), "no error");
}

TEST_F(ModelFolder, MissingPartsAreNamed) {
  for (const char* file : {"model_index.json", "scheduler/scheduler_config.json", "unet/config.json",
                           "text_encoder/model.safetensors", "tokenizer/merges.txt", "vae/config.json"}) {
    fs::rename(model() / file, path_ / "aside");
    expect_contains(failure(), file);
    fs::rename(path_ / "aside", model() / file);
  }
}

TEST_F(ModelFolder, InfinitiesInSchedulerConfigsAreRead) {
  std::ofstream(model() / "scheduler" / "scheduler_config.json")
      << R"({"_class_name": "DPMSolverMultistepScheduler", "note": "-Infinity \" NaN", "lambda_min_clipped": -Infinity})";
  const json scheduler = load_model(model().string())->config.scheduler;
  EXPECT_LT(scheduler.at("lambda_min_clipped").get<double>(), -1e308);
  EXPECT_EQ(scheduler.at("note"), "-Infinity \" NaN");
}

// ------------------------------------------------------------------------------------------------------------ names

TEST(LoadModel, EveryGoldenFamilyLoads) {
  const std::map<std::string, std::pair<bool, bool>> families = {{"sd15", {false, false}},
                                                                 {"sd21-v", {false, false}},
                                                                 {"sdxl", {true, false}},
                                                                 {"ip2p", {false, true}},
                                                                 {"sdxl-ip2p", {true, true}}};
  for (const auto& [name, family] : families) {
    const auto model = load_model((kGoldens / "models" / name).string());
    EXPECT_EQ(model->config.is_sdxl(), family.first) << name;
    EXPECT_EQ(model->config.takes_source_as_condition(), family.second) << name;
    EXPECT_EQ(model->tokenizers.size(), model->config.text_encoders.size());
  }
}

TEST(LoadModel, EmbeddedModelHasTwoEncodersAndEightChannels) {
  const auto model = load_model("scenes");
  EXPECT_EQ(model->config.name, "scenes");
  EXPECT_TRUE(model->config.is_sdxl());
  EXPECT_TRUE(model->config.takes_source_as_condition());
}

TEST(LoadModel, TinySyntheticModelsAreSmallSeededAndWhole) {
  int tiny = 0;
  for (const auto& [name, description] : named_models()) {
    EXPECT_FALSE(description.empty());
    if (name.find(":tiny-") == name.npos) continue;
    const auto model = load_model(name);
    const auto again = load_model(name);
    std::int64_t values = 0;
    for (const auto& [key, tensor] : model->unet_weights) {
      values += tensor.numel();
      EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << key;
      EXPECT_TRUE(tensor.equal(again->unet_weights.at(key))) << key;
    }
    EXPECT_LT(values, 1'000'000) << name;
    EXPECT_EQ(model->unet_weights.size(), unet_layout(model->config.unet).size());
    const at::Tensor& weight = model->unet_weights.at("conv_in.weight");
    const double fan_in = static_cast<double>(weight[0].numel());
    EXPECT_NEAR(weight.std().item<double>() * std::sqrt(fan_in), 1, 0.1) << name;
    ++tiny;
  }
  EXPECT_EQ(tiny, 5);
}

TEST(LoadModel, UnknownNamesListTheKnown) {
  const std::string what = failure_of([] { load_model("sd15"); }, ErrorCode::kUsage);
  expect_contains(what, "\"sd15\"");
  for (const auto& [name, description] : named_models()) expect_contains(what, name);
}

}  // namespace
}  // namespace i2i
