// Reads a picture of the embedded model's world: ground, pattern, and each shape's colour, form, size and place.
// The algorithm is datasets/scenes/reader.py's, written again; its numbers stand in datasets/scenes/world.json.
// Called by the promises; knows nothing of models.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/image.h"

namespace i2i {

struct SceneShape {
  std::string size, color, shape, row, column;  ///< shape and size may be "unknown"
  bool operator==(const SceneShape&) const = default;
};

struct SceneReading {
  std::vector<SceneShape> shapes;  ///< in reading order of their places
  std::string pattern, ground;
  std::vector<char> mask;  ///< [64 * 64], 1 where an object is
};

class SceneReader {
 public:
  /// @param world  datasets/scenes/world.json
  explicit SceneReader(nlohmann::ordered_json world);

  /// @throws Error(kGenerationFailed) where the picture is not the world's size
  SceneReading read(const Image& picture) const;

 private:
  struct Template {
    std::string size, shape;
    std::vector<char> mask;
  };
  std::vector<Template> templates_at(const std::string& row, const std::string& column) const;
  SceneShape read_object(const std::vector<char>& component, const std::vector<int>& color_labels) const;

  nlohmann::ordered_json world_;
  int side_;
  std::vector<std::string> colors_, grounds_, patterns_, rows_, columns_;
};

/// datasets/scenes/world.json of this source tree. @throws Error(kGenerationFailed)
nlohmann::ordered_json load_world();

/// Intersection over union of two masks; 1 where both are empty.
double mask_iou(const std::vector<char>& a, const std::vector<char>& b);

}  // namespace i2i
