// The promise: the feature int8 changes pictures a little and nothing else, keeps what a calibration keeps, and says
// what it cannot do.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "harness/calibration.h"
#include "harness/metrics/metric.h"
#include "interface/error.h"
#include "interface/int8_file.h"
#include "interface/source_image.h"
#include "optimized/pipeline.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;

struct Scenes {
  std::shared_ptr<const Model> model = load_model("scenes");
  Image source = load_source_image(std::string(I2I_SOURCE_DIR) + "/datasets/sources/scene_01.png");
  Request request;
  GenerateOptions options;

  Scenes() {
    request.prompt = "a large green cross at bottom center and a small purple cross at bottom right";
    request.negative_prompt = "yellow";
    request.strength = 0.8;
    request.steps = 6;
    request.seed = 7;
    request.batch_size = 1;
    request.guidance_scale = 7.5;
    request.image_guidance_scale = 1.5;
    options.scheduler = resolve_scheduler("", model->config);
  }
  at::Tensor picture(const PipelineOptions& pipeline_options) {
    return make_optimized_pipeline(model, pipeline_options)->generate(request, source, options).images;
  }
};

PipelineOptions with_int8() {
  PipelineOptions options;
  options.features["int8"] = true;
  return options;
}

TEST(Int8, ChangesThePictureALittle) {
  Scenes scenes;
  const at::Tensor exact = scenes.picture({}), rounded = scenes.picture(with_int8());
  EXPECT_FALSE(at::equal(exact, rounded)) << "no layer ran in int8";
  EXPECT_GE(ssim(exact[0], rounded[0]), 0.97);
}

TEST(Int8, NeedsPackedWeightsAndFp32) {
  Scenes scenes;
  PipelineOptions options = with_int8();
  options.features["packed_weights"] = false;
  EXPECT_THROW(make_optimized_pipeline(scenes.model, options), Error);
}

TEST(Int8, ALayerSwitchedOffIsTheExactOne) {
  Scenes scenes;
  const auto layers = std::make_shared<Int8Layers>(std::set<std::string>{}, true);
  const auto pipeline = make_calibration_pipeline(scenes.model, layers);
  ASSERT_GE(layers->layers().size(), 40u);
  for (auto& [name, layer] : layers->layers()) layer.on = false;
  const at::Tensor exact = scenes.picture({});
  EXPECT_TRUE(at::equal(pipeline->generate(scenes.request, scenes.source, scenes.options).images, exact));
  for (const auto& [name, layer] : layers->layers()) EXPECT_GT(layer.operations, 0) << name;
  layers->layers().begin()->second.on = true;
  EXPECT_FALSE(at::equal(pipeline->generate(scenes.request, scenes.source, scenes.options).images, exact));
}

TEST(Int8Layers, WhatDoesNotPayStaysInFp32ButIsCalibrated) {
  Int8Layers layers({"kept"});
  EXPECT_NE(layers.enter("pays", true), nullptr);
  EXPECT_EQ(layers.enter("does not", false), nullptr);
  EXPECT_EQ(layers.enter("kept", false), nullptr);
  EXPECT_TRUE(layers.unknown().empty()) << "a calibration made elsewhere names layers that do not pay here";
  EXPECT_EQ(layers.layers().size(), 1u);
  Int8Layers calibrated({}, true);
  EXPECT_NE(calibrated.enter("does not", false), nullptr);
}

/// A copy of the embedded model's folder by links, with an int8.json of its own.
class ModelWithCalibration : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& entry : fs::directory_iterator(fs::path(I2I_SOURCE_DIR) / "datasets" / "models" / "scenes")) {
      if (entry.path().filename() == "int8.json") continue;
      fs::create_symlink(entry.path(), folder_ / entry.path().filename());
    }
  }
  void write(const std::string& text) const { std::ofstream(folder_ / "int8.json") << text; }
  std::string failure() {
    try {
      make_optimized_pipeline(load_model(folder_.string()), with_int8());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  const ScratchFolder scratch_;
  const fs::path folder_ = scratch_.path();
};

TEST_F(ModelWithCalibration, KeepsLayersInFp32) {
  Scenes scenes;
  const auto all = std::make_shared<Int8Layers>(std::set<std::string>{});
  make_calibration_pipeline(scenes.model, all);
  std::string names;
  for (const auto& [name, layer] : all->layers()) names += (names.empty() ? "\"" : ", \"") + name + "\"";
  write("{\"layers_in_fp32\": [" + names + "]}");
  EXPECT_EQ(layers_in_fp32(folder_.string()).size(), all->layers().size());
  const at::Tensor exact = scenes.picture({});
  scenes.model = load_model(folder_.string());
  EXPECT_TRUE(at::equal(scenes.picture(with_int8()), exact)) << "a layer that is kept ran in int8";
}

TEST_F(ModelWithCalibration, RefusesWhatItDoesNotKnow) {
  write(R"({"layers_in_fp32": ["mid_block.resnets.0.conv1", "mid_block.resnets.9.conv1"]})");
  EXPECT_NE(failure().find("mid_block.resnets.9.conv1"), std::string::npos) << failure();
  EXPECT_EQ(failure().find("mid_block.resnets.0.conv1"), std::string::npos) << failure();
  write(R"({"layers_in_fp32": "all"})");
  EXPECT_NE(failure().find("layers_in_fp32"), std::string::npos) << failure();
}

TEST(Calibration, KeepsTheDearestUntilTheBudgetHolds) {
  std::vector<LayerSensitivity> layers = {{"cheap", "unet", 0.01, 0.5},
                                          {"dear", "unet", 0.04, 0.4},
                                          {"small", "unet", 0.03, 0.1},
                                          {"other", "decoder", 0.03, 1}};
  // unet: 0.0001 + 0.0016 + 0.0009; per share 0.0002, 0.004, 0.009.
  EXPECT_EQ(layers_to_keep(layers, 0.06), (std::vector<std::string>{}));
  EXPECT_EQ(layers_to_keep(layers, 0.045), (std::vector<std::string>{"small"}));
  EXPECT_EQ(layers_to_keep(layers, 0.031), (std::vector<std::string>{"small", "dear"}));
  EXPECT_EQ(layers_to_keep(layers, 0), (std::vector<std::string>{"small", "dear", "other", "cheap"}));
  EXPECT_EQ(layers.front().layer, "small");
}

TEST(Calibration, MeasuresLayersAlone) {
  Scenes scenes;
  scenes.request.steps = 2;
  scenes.request.strength = 0.5;
  std::size_t seen = 0;
  const Calibration calibration = calibrate(scenes.model, {{scenes.request, scenes.source}}, scenes.options, 0.01,
                                            [&](std::size_t, std::size_t layers) { seen = layers; });
  ASSERT_EQ(calibration.layers.size(), seen);
  double share = 0, squares = 0;
  for (const LayerSensitivity& layer : calibration.layers) {
    EXPECT_GT(layer.error, 0) << layer.layer;
    EXPECT_LT(layer.error, 0.2) << layer.layer;
    if (layer.network == "unet") share += layer.share, squares += layer.error * layer.error;
  }
  EXPECT_NEAR(share, 1, 1e-9);
  // Errors of single layers add up as squares, roughly; those left keep to the budget, roughly.
  EXPECT_NEAR(calibration.error_of_all[1].second / std::sqrt(squares), 1, 0.5);
  EXPECT_LE(calibration.error_left[1].second, 1.5 * 0.01);
  scenes.request.seed.reset();
  EXPECT_THROW(calibrate(scenes.model, {{scenes.request, scenes.source}}, scenes.options, 0.01, [](auto, auto) {}),
               Error);
}

}  // namespace
}  // namespace i2i
