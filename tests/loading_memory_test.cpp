// Promise: a checkpoint is loaded by mapping it, without a second copy. Loading reads no weights at all; once all of
// them have been read, the process has grown by the files and hardly more, and none of that is memory of its own. Holds
// for load_model and for the reference, which computes on the mapped float32 weights themselves.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "interface/model_files.h"
#include "interface/synthetic_model.h"
#include "optimized/pipeline.h"
#include "reference/pipeline.h"
#include "tests/process_memory.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;

// What loading needs beside the weights: configs, tokenizers, names, shapes and tensor objects of 500 tensors. It does
// not grow with the weights, and is below the largest tensor, so that even one copied at a time would show.
constexpr std::int64_t kOwnBytes = 8 << 20;
// The reference's modules: some 500 tensor objects more, in as many modules.
constexpr std::int64_t kModuleBytes = 8 << 20;
constexpr double kPeakOfWeights = 1.1;

/// Before, after loading, and after every byte of the weights was read.
using Course = std::array<Memory, 3>;

std::uint64_t sum_of_bytes(const Weights& weights) {
  std::uint64_t sum = 0;
  for (const auto& [name, tensor] : weights) {
    const auto* begin = static_cast<const unsigned char*>(tensor.const_data_ptr());
    for (std::size_t i = 0; i < tensor.nbytes(); ++i) sum += begin[i];
  }
  return sum;
}

void read_all(const Model& model) {
  std::uint64_t sum = sum_of_bytes(model.unet_weights) + sum_of_bytes(model.vae_weights);
  for (const Weights& weights : model.text_encoder_weights) sum += sum_of_bytes(weights);
  if (sum == 0) std::abort();  // the sum is used, so that no compiler leaves the reading out
}

/// The golden sd15 folder with a UNet of 448 channels in float32: some 370 MB.
class LoadingMemory : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = std::make_unique<ScratchFolder>();
    folder_ = *scratch_ / "model";
    fs::copy(fs::path(I2I_SOURCE_DIR) / "datasets" / "goldens" / "models" / "sd15", folder_,
             fs::copy_options::recursive);
    const fs::path config_file = folder_ / "unet" / "config.json";
    auto config = nlohmann::json::parse(std::ifstream(config_file));
    config["block_out_channels"] = {448, 448};
    std::ofstream(config_file) << config;
    in_a_child([&] {  // whose memory is not that of the processes forked later
      std::vector<std::pair<std::string, at::Tensor>> tensors;
      for (const auto& [name, shape] : unet_layout(parse_unet_config(config)))
        tensors.emplace_back(name, at::full(shape, 0.01, at::kFloat));
      write_safetensors(tensors, (folder_ / "unet" / "diffusion_pytorch_model.safetensors").string());
      return Course{};
    });
    for (const auto& [name, shape] : unet_layout(parse_unet_config(config))) {
      std::int64_t bytes = sizeof(float);
      for (const std::int64_t side : shape) bytes *= side;
      largest_tensor_ = std::max(largest_tensor_, bytes);
    }
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.path().extension() == ".safetensors") weight_bytes_ += static_cast<std::int64_t>(entry.file_size());
  }
  static void TearDownTestSuite() { scratch_.reset(); }

  static void expect_no_copy(const Course& course, std::int64_t own_bytes) {
    const auto& [before, loaded, read] = course;
    fmt::print("  weights {} MB; loading: peak {} MB; all read: peak {} MB, own {} MB, mapped {} MB\n",
               weight_bytes_ >> 20, (loaded.peak - before.resident) >> 20, (read.peak - before.resident) >> 20,
               (read.anonymous - before.anonymous) >> 20, (read.mapped - before.mapped) >> 20);
    EXPECT_LE(read.anonymous - before.anonymous, own_bytes);
    // Not all of them: the kernel may take pages back that were read some seconds ago.
    EXPECT_GE(read.mapped - before.mapped, weight_bytes_ / 2) << "the weights were not read from their files";
    EXPECT_LE(static_cast<double>(read.peak - before.resident), kPeakOfWeights * static_cast<double>(weight_bytes_));
  }

  static inline std::unique_ptr<ScratchFolder> scratch_;
  static inline fs::path folder_;
  static inline std::int64_t weight_bytes_ = 0;
  static inline std::int64_t largest_tensor_ = 0;
};

TEST_F(LoadingMemory, LoadingReadsNoWeightsAndCopiesNone) {
  ASSERT_GT(weight_bytes_, 300 << 20);
  ASSERT_GT(largest_tensor_, kOwnBytes);
  const Course course = in_a_child([] {
    const Memory before = memory_now();
    const auto model = load_model(folder_.string());
    const Memory loaded = memory_now();
    read_all(*model);
    return Course{before, loaded, memory_now()};
  });
  EXPECT_LE(course[1].peak - course[0].resident, kOwnBytes + (4 << 20)) << "loading read weights";
  expect_no_copy(course, kOwnBytes);
}

TEST_F(LoadingMemory, TheReferenceComputesOnTheMappedWeights) {
  const Course course = in_a_child([] {
    const Memory before = memory_now();
    const auto model = load_model(folder_.string());
    const auto pipeline = make_reference_pipeline(model, PipelineOptions{});
    const Memory loaded = memory_now();
    read_all(*model);
    return Course{before, loaded, memory_now()};
  });
  expect_no_copy(course, kOwnBytes + kModuleBytes);
}

TEST_F(LoadingMemory, WhatIsPackedLeavesMemoryWhileTheRestIsPacked) {
  const Course course = in_a_child([] {
    const Memory before = memory_now();
    const auto model = load_model(folder_.string());
    const auto pipeline = make_optimized_pipeline(model, PipelineOptions{});
    const Memory packed = memory_now();
    return Course{before, packed, packed};
  });
  const auto grown = course[1].peak - course[0].resident;
  fmt::print("  weights {} MB; packing: peak {} MB\n", weight_bytes_ >> 20, grown >> 20);
  EXPECT_GE(grown, weight_bytes_) << "the packed weights are not all there";
  // Beside the packed weights: one layer as it is packed, the code that is called, and a UNet of 448 channels is mostly
  // a few layers.
  EXPECT_LE(static_cast<double>(grown), 1.4 * static_cast<double>(weight_bytes_));
}

/// A weight and a bias, 128 MB.
const CheckpointLayout& large_layout() {
  static const CheckpointLayout layout = {{"a.bias", {8193}}, {"a.weight", {8192, 4096}}};
  return layout;
}

TEST(GeneratedWeights, CanLeaveMemoryAndComeBack) {
  struct Seen {
    Memory before, drawn, released;
    std::uint64_t sum, sum_again;
  };
  const auto draw = [](const char* folder) {
    return in_a_child([=] {
      ::setenv("TMPDIR", folder, 1);
      Seen seen{};
      seen.before = memory_now();
      const Weights weights = synthetic_weights(large_layout(), "test");
      seen.drawn = memory_now();
      seen.sum = sum_of_bytes(weights);
      for (const auto& [name, tensor] : weights) release_pages(tensor);
      seen.released = memory_now();
      seen.sum_again = sum_of_bytes(weights);
      return seen;
    });
  };
  const ScratchFolder scratch;
  const Seen in_file = draw(scratch.path().c_str());
  constexpr std::int64_t kBytes = 8192 * 4096 * 4;
  EXPECT_LE(in_file.drawn.anonymous - in_file.before.anonymous, kOwnBytes);
  EXPECT_GE(in_file.drawn.resident - in_file.before.resident, kBytes / 2);
  EXPECT_LE(in_file.released.resident - in_file.before.resident, 2 * kOwnBytes);
  EXPECT_EQ(in_file.sum, in_file.sum_again);
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path())) << "the file has a name";

  const Seen in_memory = draw("/nonexistent");  // where a file has no room, nothing else changes
  EXPECT_GE(in_memory.released.anonymous - in_memory.before.anonymous, kBytes);
  EXPECT_EQ(in_memory.sum, in_file.sum);
}

}  // namespace
}  // namespace i2i
