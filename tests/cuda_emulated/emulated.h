// What tests of the emulated pipeline share: models by name, requests that take seconds, the pipeline itself, and what
// its backend counts.
#pragma once

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "interface/pipeline.h"
#include "interface/source_image.h"
#include "optimized/pipeline.h"

namespace i2i {

/// How many pieces of work were captured so far (emulated_backend.cpp).
std::int64_t emulated_captures();

/// Whether libraries stand in for our kernels where they win, as on sm_90; false at first (emulated_libraries.cpp).
bool& emulated_libraries_win();

inline std::shared_ptr<const Model> model_named(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Model>> models;
  auto& model = models[name];
  if (!model) model = load_model(name);
  return model;
}

inline std::string golden_model(const std::string& family) {
  return I2I_SOURCE_DIR "/datasets/goldens/models/" + family;
}

inline Image source_picture(const std::string& name) {
  return load_source_image(fmt::format(I2I_SOURCE_DIR "/datasets/sources/{}.png", name));
}

inline Request request_of(int steps, double strength, std::uint64_t seed) {
  Request request;
  request.prompt = "a large blue triangle at middle right and a small red circle at top left on a plain cyan ground";
  request.negative_prompt = "";
  request.steps = steps;
  request.strength = strength;
  request.seed = seed;
  request.guidance_scale = 5.0;
  request.image_guidance_scale = 1.5;
  request.batch_size = 1;
  request.width = request.height = 64;
  return request;
}

inline std::unique_ptr<Pipeline> make_emulated(const std::string& model, at::ScalarType dtype = at::kBFloat16,
                                               const std::map<std::string, bool>& features = {}) {
  PipelineOptions options;
  options.device = "cuda-emulated";
  options.dtype = dtype;
  options.features = features;
  return make_optimized_pipeline(model_named(model), options);
}

inline GenerateOptions options_of(const std::string& model, const std::string& scheduler = "", double rescale = 0) {
  GenerateOptions options;
  options.scheduler = resolve_scheduler(scheduler, model_named(model)->config);
  options.guidance_rescale = rescale;
  return options;
}

}  // namespace i2i
