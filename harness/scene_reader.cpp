#include "harness/scene_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <numbers>
#include <opencv2/imgproc.hpp>

#include "interface/error.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;
using Rgb = std::array<int, 3>;

constexpr int kSupersampling = 8;  // as the world is drawn

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [name, value] : object.items()) names.push_back(name);
  return names;
}

// Index of the nearest colour by squared distance; the earlier one on ties.
int nearest(const std::uint8_t* pixel, const std::vector<Rgb>& palette) {
  int best = 0, best_distance = std::numeric_limits<int>::max();
  for (std::size_t i = 0; i < palette.size(); ++i) {
    int distance = 0;
    for (std::size_t c = 0; c < 3; ++c) distance += (pixel[c] - palette[i][c]) * (pixel[c] - palette[i][c]);
    if (distance < best_distance) {
      best_distance = distance;
      best = static_cast<int>(i);
    }
  }
  return best;
}

std::vector<int> label(const Image& picture, const std::vector<Rgb>& palette) {
  std::vector<int> labels(picture.rgb.size() / 3);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = nearest(&picture.rgb[3 * i], palette);
  return labels;
}

// Whether a point lies in the shape of radius 1 about the origin; y points down.
bool inside(const std::string& shape, double x, double y, const Json& geometry) {
  const double r = std::hypot(x, y);
  if (shape == "circle") return r <= 1;
  if (shape == "ring") return r <= 1 && r >= geometry.at("ring_inner_radius").get<double>();
  if (shape == "square") return std::max(std::abs(x), std::abs(y)) <= geometry.at("square_half_side").get<double>();
  if (shape == "cross") {
    return std::max(std::abs(x), std::abs(y)) <= 1 &&
           std::min(std::abs(x), std::abs(y)) <= geometry.at("cross_half_width").get<double>();
  }
  if (shape == "triangle") {
    const double drop = geometry.at("triangle_base_drop").get<double>();
    return y <= drop && std::abs(x) * (1 + drop) <= y + 1;
  }
  // A five-pointed star: the plane folded into half a point, then one edge from the tip to the inner corner.
  constexpr double kPoint = 2 * std::numbers::pi / 5;
  double angle = std::fmod(std::atan2(x, -y) + 2 * std::numbers::pi, kPoint);
  angle = std::min(angle, kPoint - angle);
  const double px = r * std::cos(angle), py = r * std::sin(angle);
  const double q = geometry.at("star_inner_radius").get<double>();
  const double cx = q * std::cos(kPoint / 2), cy = q * std::sin(kPoint / 2);
  return (px - 1) * cy - py * (cx - 1) <= 0;
}

// Pixels of which the shape covers at least `threshold`.
std::vector<char> covered(const std::string& shape, double radius, double cx, double cy, int side, double threshold,
                          const Json& geometry) {
  std::vector<char> mask(static_cast<std::size_t>(side) * side);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      int hits = 0;
      for (int sub = 0; sub < kSupersampling * kSupersampling; ++sub) {
        const int sub_row = sub / kSupersampling, sub_column = sub % kSupersampling;
        const double px = x + (sub_column + 0.5) / kSupersampling, py = y + (sub_row + 0.5) / kSupersampling;
        hits += inside(shape, (px - cx) / radius, (py - cy) / radius, geometry);
      }
      mask[static_cast<std::size_t>(y) * side + x] = hits >= threshold * kSupersampling * kSupersampling;
    }
  }
  return mask;
}

// The mask moved by (dx, dy), wrapping around as the Python reader's does.
std::vector<char> rolled(const std::vector<char>& mask, int dx, int dy, int side) {
  std::vector<char> result(mask.size());
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const int to_y = (y + dy + side) % side, to_x = (x + dx + side) % side;
      result[static_cast<std::size_t>(to_y) * side + to_x] = mask[static_cast<std::size_t>(y) * side + x];
    }
  }
  return result;
}

int tone(const std::string& pattern, int x, int y, int period) {
  if (pattern == "plain") return 0;
  return pattern == "striped" ? x / period % 2 : (x / period + y / period) % 2;
}

// The name whose centre is nearest; the earlier one on ties.
std::string nearest_place(const std::vector<std::string>& names, const Json& centres, double at) {
  return *std::min_element(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return std::abs(centres.at(a).get<double>() - at) < std::abs(centres.at(b).get<double>() - at);
  });
}

}  // namespace

SceneReader::SceneReader(Json world)
    : world_(std::move(world)),
      side_(world_.at("picture_size")),
      colors_(keys(world_.at("colors"))),
      grounds_(keys(world_.at("grounds"))),
      patterns_(world_.at("patterns").get<std::vector<std::string>>()),
      rows_(keys(world_.at("rows"))),
      columns_(keys(world_.at("columns"))) {}

std::vector<SceneReader::Template> SceneReader::templates_at(const std::string& row, const std::string& column) const {
  std::vector<Template> templates;
  for (const auto& [size, radius] : world_.at("sizes").items()) {
    for (const std::string shape : world_.at("shapes")) {
      templates.push_back({size, shape,
                           covered(shape, radius, world_.at("columns").at(column), world_.at("rows").at(row), side_,
                                   world_.at("reader").at("template_threshold"), world_.at("geometry"))});
    }
  }
  return templates;
}

SceneShape SceneReader::read_object(const std::vector<char>& component, const std::vector<int>& color_labels) const {
  std::vector<int> counts(colors_.size());
  int top = side_, bottom = -1, left = side_, right = -1;
  for (int i = 0; i < side_ * side_; ++i) {
    if (component[static_cast<std::size_t>(i)] == 0) continue;
    ++counts[static_cast<std::size_t>(color_labels[static_cast<std::size_t>(i)])];
    top = std::min(top, i / side_);
    bottom = std::max(bottom, i / side_);
    left = std::min(left, i % side_);
    right = std::max(right, i % side_);
  }
  SceneShape object;
  object.color = colors_[static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin())];
  object.row = nearest_place(rows_, world_.at("rows"), (top + bottom + 1) / 2.0);
  object.column = nearest_place(columns_, world_.at("columns"), (left + right + 1) / 2.0);
  object.size = object.shape = "unknown";
  double best = 0;
  std::string best_shape;
  const int reach = world_.at("reader").at("max_shift");
  for (const Template& form : templates_at(object.row, object.column)) {
    double overlap = 0;
    for (int dy = -reach; dy <= reach; ++dy) {
      for (int dx = -reach; dx <= reach; ++dx)
        overlap = std::max(overlap, mask_iou(rolled(form.mask, dx, dy, side_), component));
    }
    if (overlap > best) {
      best = overlap;
      object.size = form.size;
      best_shape = form.shape;
    }
  }
  if (best >= world_.at("reader").at("min_template_iou").get<double>()) object.shape = best_shape;
  return object;
}

SceneReading SceneReader::read(const Image& picture) const {
  if (picture.width != side_ || picture.height != side_) {
    throw Error(ErrorCode::kGenerationFailed, fmt::format("a picture of the world is {0} x {0}, this one is {1} x {2}",
                                                          side_, picture.width, picture.height));
  }
  std::vector<Rgb> ground_tones, shape_colors;
  for (const std::string& ground : grounds_) {
    for (const Json& value : world_.at("grounds").at(ground)) ground_tones.push_back(value.get<Rgb>());
  }
  for (const std::string& color : colors_) shape_colors.push_back(world_.at("colors").at(color).get<Rgb>());

  // 1. The ground whose two tones are nearest to the most pixels.
  std::vector<Rgb> palette = ground_tones;
  palette.insert(palette.end(), shape_colors.begin(), shape_colors.end());
  std::vector<int> votes(grounds_.size());
  for (const int value : label(picture, palette)) {
    if (value < static_cast<int>(ground_tones.size())) ++votes[static_cast<std::size_t>(value) / 2];
  }
  const auto ground = static_cast<std::size_t>(std::max_element(votes.begin(), votes.end()) - votes.begin());

  // 2. Labels among that ground's tones and the shape colours.
  palette.assign(ground_tones.begin() + static_cast<std::ptrdiff_t>(2 * ground),
                 ground_tones.begin() + static_cast<std::ptrdiff_t>(2 * ground + 2));
  palette.insert(palette.end(), shape_colors.begin(), shape_colors.end());
  const std::vector<int> labels = label(picture, palette);

  // 3. The pattern that agrees with the most ground pixels.
  SceneReading reading;
  reading.ground = grounds_[ground];
  int best_agreement = -1;
  for (const std::string& pattern : patterns_) {
    int agreement = 0;
    for (int i = 0; i < side_ * side_; ++i)
      agreement +=
          labels[static_cast<std::size_t>(i)] == tone(pattern, i % side_, i / side_, world_.at("pattern_period"));
    if (agreement > best_agreement) {
      best_agreement = agreement;
      reading.pattern = pattern;
    }
  }

  // 4. and 5. Components of the mask, each an object.
  cv::Mat mask(side_, side_, CV_8U), components;
  std::vector<int> color_labels(labels.size());
  for (int i = 0; i < side_ * side_; ++i) {
    mask.data[i] = labels[static_cast<std::size_t>(i)] >= 2;
    color_labels[static_cast<std::size_t>(i)] = std::max(0, labels[static_cast<std::size_t>(i)] - 2);
  }
  const int count = cv::connectedComponents(mask, components, 4, CV_32S);
  reading.mask.assign(labels.size(), 0);
  for (int component = 1; component < count; ++component) {
    std::vector<char> pixels(labels.size());
    int area = 0;
    for (int i = 0; i < side_ * side_; ++i)
      area += pixels[static_cast<std::size_t>(i)] = components.at<int>(i / side_, i % side_) == component;
    if (area < world_.at("reader").at("min_area").get<int>()) continue;
    for (std::size_t i = 0; i < pixels.size(); ++i) reading.mask[i] |= pixels[i];
    reading.shapes.push_back(read_object(pixels, color_labels));
  }
  const auto place = [&](const SceneShape& shape) {
    return std::pair(std::find(rows_.begin(), rows_.end(), shape.row),
                     std::find(columns_.begin(), columns_.end(), shape.column));
  };
  std::stable_sort(reading.shapes.begin(), reading.shapes.end(),
                   [&](const SceneShape& a, const SceneShape& b) { return place(a) < place(b); });
  return reading;
}

Json load_world() {
  const std::string path = I2I_SOURCE_DIR "/datasets/scenes/world.json";
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kGenerationFailed, fmt::format("{} cannot be opened", path));
  return Json::parse(file);
}

double mask_iou(const std::vector<char>& a, const std::vector<char>& b) {
  int both = 0, either = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += a[i] & b[i];
    either += a[i] | b[i];
  }
  return either == 0 ? 1.0 : static_cast<double>(both) / either;
}

}  // namespace i2i
