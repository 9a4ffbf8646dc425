// Promise: it does not matter in which of its published forms a model folder comes. Sharded or whole, with variant file
// names, with old or new attention names, with "text_model." or without: the tensors loaded are the same bytes, and so
// is the picture.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "interface/model_files.h"
#include "interface/source_image.h"
#include "reference/pipeline.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

const fs::path kDatasets = fs::path(I2I_SOURCE_DIR) / "datasets";

std::vector<fs::path> weight_files(const fs::path& model) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(model))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  return files;
}

/// Every tensor of `file` under the name that `renamed` gives it, reshaped where it returns another tensor.
template <typename Renamed>
void rewrite(const fs::path& file, const Renamed& renamed) {
  Tensors tensors;
  for (const auto& [name, tensor] : read_safetensors(file.string())) tensors.push_back(renamed(name, tensor));
  write_safetensors(tensors, file.string() + ".new");
  fs::rename(file.string() + ".new", file);
}

std::string replaced(std::string text, const std::vector<std::pair<std::string, std::string>>& words) {
  for (const auto& [from, to] : words)
    if (const std::size_t at = text.find(from); at != text.npos) text.replace(at, from.size(), to);
  return text;
}

/// Cuts a file into `count` shards and an index, named as diffusers and transformers name them.
void shard(const fs::path& file, std::size_t count, const std::string& variant) {
  const std::string stem = file.stem().string();
  const Weights weights = read_safetensors(file.string());
  std::vector<Tensors> shards(count);
  json map = json::object();
  std::size_t next = 0;
  const auto shard_name = [&](std::size_t i) {
    return fmt::format("{}{}-{:05}-of-{:05}.safetensors", stem, variant, i + 1, count);
  };
  for (const auto& [name, tensor] : weights) {
    map[name] = shard_name(next % count);
    shards[next++ % count].emplace_back(name, tensor);
  }
  for (std::size_t i = 0; i < count; ++i) write_safetensors(shards[i], (file.parent_path() / shard_name(i)).string());
  std::ofstream(file.parent_path() / fmt::format("{}.safetensors.index{}.json", stem, variant))
      << json{{"metadata", {{"total_size", 0}}}, {"weight_map", map}};
  fs::remove(file);
}

void shard_all(const fs::path& model) {
  for (const fs::path& file : weight_files(model)) shard(file, 3, "");
}

void shard_all_as_variant(const fs::path& model) {
  for (const fs::path& file : weight_files(model)) shard(file, 2, ".fp16");
}

void name_as_variant(const fs::path& model) {
  for (const fs::path& file : weight_files(model))
    fs::rename(file, file.parent_path() / (file.stem().string() + ".fp16.safetensors"));
}

void give_old_attention_names(const fs::path& model) {
  rewrite(model / "vae" / "diffusion_pytorch_model.safetensors", [](const std::string& name, const at::Tensor& tensor) {
    if (name.find(".attentions.") == name.npos) return std::pair(name, tensor);
    return std::pair(
        replaced(name,
                 {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}}),
        tensor);
  });
}

/// As the oldest files have them: old names, and linears as 1 x 1 convolutions.
void give_convolutions_for_attention(const fs::path& model) {
  give_old_attention_names(model);
  rewrite(model / "vae" / "diffusion_pytorch_model.safetensors", [](const std::string& name, const at::Tensor& tensor) {
    const bool linear = name.find(".attentions.") != name.npos && tensor.dim() == 2;
    return std::pair(name, linear ? tensor.unsqueeze(2).unsqueeze(3) : tensor);
  });
}

void give_new_attention_names(const fs::path& model) {
  rewrite(model / "vae" / "diffusion_pytorch_model.safetensors", [](const std::string& name, const at::Tensor& tensor) {
    return std::pair(
        replaced(name,
                 {{".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}}),
        tensor);
  });
}

template <typename Renamed>
void rewrite_text_encoders(const fs::path& model, const Renamed& renamed) {
  for (const char* encoder : {"text_encoder", "text_encoder_2"})
    if (const fs::path file = model / encoder / "model.safetensors"; fs::exists(file)) rewrite(file, renamed);
}

void give_text_model_prefix(const fs::path& model) {
  rewrite_text_encoders(model, [](const std::string& name, const at::Tensor& tensor) {
    const bool prefixed = name.starts_with("text_model.") || name.starts_with("text_projection.");
    return std::pair(prefixed ? name : "text_model." + name, tensor);
  });
}

void take_text_model_prefix(const fs::path& model) {
  rewrite_text_encoders(model, [](const std::string& name, const at::Tensor& tensor) {
    return std::pair(replaced(name, {{"text_model.", ""}}), tensor);
  });
}

void give_everything_old_in_shards(const fs::path& model) {
  give_convolutions_for_attention(model);
  give_text_model_prefix(model);
  shard_all(model);
}

struct Form {
  const char* name;
  std::function<void(const fs::path&)> change;
};
const Form kForms[] = {{"three_shards", shard_all},
                       {"variant_names", name_as_variant},
                       {"variant_shards", shard_all_as_variant},
                       {"old_attention_names", give_old_attention_names},
                       {"old_attention_as_convolutions", give_convolutions_for_attention},
                       {"new_attention_names", give_new_attention_names},
                       {"with_text_model_prefix", give_text_model_prefix},
                       {"without_text_model_prefix", take_text_model_prefix},
                       {"everything_old_in_shards", give_everything_old_in_shards}};

std::vector<const Weights*> networks(const Model& model) {
  std::vector<const Weights*> all = {&model.unet_weights, &model.vae_weights};
  for (const Weights& weights : model.text_encoder_weights) all.push_back(&weights);
  return all;
}

at::Tensor picture(const std::shared_ptr<const Model>& model) {
  Request request;
  request.prompt = "a red house by the sea";
  request.negative_prompt = "blue";
  request.prompt_2 = "at night";
  request.guidance_scale = 7.5;
  request.image_guidance_scale = 1.5;
  request.steps = 3;
  request.batch_size = 1;
  request.strength = 0.9;
  request.seed = 5;
  GenerateOptions options;
  options.scheduler = resolve_scheduler("", model->config);
  const Image source = load_source_image((kDatasets / "goldens" / "source.png").string());
  return make_reference_pipeline(model, PipelineOptions{})->generate(request, source, options).images;
}

class CheckpointForm : public testing::TestWithParam<std::tuple<const char*, std::size_t>> {};

TEST_P(CheckpointForm, GivesTheSameTensorsAndPicture) {
  const auto& [family, form] = GetParam();
  const fs::path original = kDatasets / "goldens" / "models" / family;
  const ScratchFolder scratch;
  const fs::path changed = scratch / "model";
  fs::copy(original, changed, fs::copy_options::recursive);
  kForms[form].change(changed);

  const auto expected = load_model(original.string());
  const auto model = load_model(changed.string());
  const auto before = networks(*expected), after = networks(*model);
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(after[i]->size(), before[i]->size());
    for (const auto& [name, tensor] : *before[i]) {
      ASSERT_TRUE(after[i]->contains(name)) << name;
      const at::Tensor& other = after[i]->at(name);
      EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
      EXPECT_EQ(other.sizes(), tensor.sizes()) << name;
      EXPECT_EQ(std::memcmp(other.contiguous().const_data_ptr(), tensor.const_data_ptr(), tensor.nbytes()), 0) << name;
    }
  }
  static std::map<std::string, at::Tensor> pictures;  // of the unchanged models
  if (!pictures.contains(family)) pictures[family] = picture(expected);
  EXPECT_GT(pictures[family].std().item<double>(), 0.1);
  EXPECT_TRUE(picture(model).equal(pictures[family]));
}

INSTANTIATE_TEST_SUITE_P(Folders, CheckpointForm,
                         testing::Combine(testing::Values("sd15", "sdxl"),
                                          testing::Range(std::size_t{0}, std::size(kForms))),
                         [](const auto& run) {
                           return fmt::format("{}_{}", std::get<0>(run.param), kForms[std::get<1>(run.param)].name);
                         });

}  // namespace
}  // namespace i2i
