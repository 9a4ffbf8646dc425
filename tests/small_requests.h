// Models by name, loaded once a program, and a request and a picture small enough for every one of them. Only tests
// include this.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "interface/image.h"
#include "interface/model_files.h"
#include "interface/request.h"

namespace i2i {

inline std::shared_ptr<const Model> model_named(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Model>> models;
  auto& model = models[name];
  if (!model) model = load_model(name);
  return model;
}

/// A picture with edges and gradients.
inline Image source_picture(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int value : {x * 255 / width, (x / 9 + y / 7) % 2 * 200, 255 - y * 255 / height}) {
        image.rgb.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  return image;
}

/// With prompts for both text encoders, and guidance by text and by picture.
inline Request request_of(double strength, int steps, int batch) {
  Request request;
  request.prompt = "a red circle on blue ground";
  request.prompt_2 = "with a small green star";
  request.negative_prompt = "square";
  request.guidance_scale = 5.0;
  request.image_guidance_scale = 1.7;
  request.strength = strength;
  request.steps = steps;
  request.batch_size = batch;
  request.seed = 11;
  return request;
}

}  // namespace i2i
