// One model in its three forms (a folder, a folder with sharded weights, a single file in the original layout) gives
// the same pictures to the byte, in both implementations.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "interface/model_source.h"
#include "interface/source_image.h"
#include "optimized/pipeline.h"
#include "reference/pipeline.h"
#include "tests/scratch_folder.h"
#include "tests/single_files.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;

/// A copy of the folder in which every component's weights stand in two shards.
void write_sharded(const fs::path& folder, const fs::path& target) {
  fs::copy(folder, target, fs::copy_options::recursive);
  for (const auto& entry : fs::directory_iterator(target)) {
    for (const std::string stem : {"model", "diffusion_pytorch_model"}) {
      const fs::path whole = entry.path() / (stem + ".safetensors");
      if (!fs::exists(whole)) continue;
      const Weights weights = read_safetensors(whole.string());
      std::vector<std::pair<std::string, at::Tensor>> shards[2];
      nlohmann::json map = nlohmann::json::object();
      for (const auto& [key, tensor] : weights) {
        const std::size_t shard = map.size() % 2;
        shards[shard].emplace_back(key, tensor);
        map[key] = fmt::format("{}-0000{}-of-00002.safetensors", stem, shard + 1);
      }
      for (std::size_t i = 0; i < 2; ++i)
        write_safetensors(shards[i],
                          (entry.path() / fmt::format("{}-0000{}-of-00002.safetensors", stem, i + 1)).string());
      std::ofstream(whole.string() + ".index.json") << nlohmann::json{{"weight_map", map}};
      fs::remove(whole);
    }
  }
}

using MakePipeline = std::unique_ptr<Pipeline> (*)(std::shared_ptr<const Model>, const PipelineOptions&);

at::Tensor pictures(const std::shared_ptr<const Model>& model, MakePipeline make_pipeline) {
  static const Image source = load_source_image((single_files::goldens() / "source.png").string());
  Request request = parse_request(R"({"source_image": "-", "prompt": "a red cube!", "negative_prompt": "dark"})");
  request.prompt_2 = "a green table";
  request.steps = 2;
  request.seed = 5;
  GenerateOptions options;
  options.scheduler = resolve_scheduler("", model->config);
  return make_pipeline(model, {})->generate(request, source, options).images;
}

class SingleFilePictures : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Goldens, SingleFilePictures, testing::ValuesIn(single_files::families()),
                         single_files::test_name);

TEST_P(SingleFilePictures, AreThoseOfTheFolderAndOfItsShards) {
  at::set_num_threads(1);
  const ScratchFolder scratch;
  const std::string folder = single_files::folder_of(GetParam()), file = (scratch / "model.safetensors").string();
  const auto from_folder = load_model(folder);
  const Weights tensors = single_files::tensors_of(GetParam(), *from_folder);
  write_safetensors({tensors.begin(), tensors.end()}, file);
  write_sharded(folder, scratch / "sharded");
  const auto from_shards = load_model((scratch / "sharded").string());
  const auto from_file = load_model(ModelSource{file, folder});
  for (const MakePipeline make : {make_reference_pipeline, make_optimized_pipeline}) {
    const at::Tensor expected = pictures(from_folder, make);
    EXPECT_GT(expected.std().item<float>(), 0.01f);
    EXPECT_TRUE(pictures(from_shards, make).equal(expected));
    EXPECT_TRUE(pictures(from_file, make).equal(expected));
  }
}

}  // namespace
}  // namespace i2i
