#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "harness/metrics/metric.h"
#include "interface/error.h"
#include "interface/model_files.h"

namespace i2i {
namespace {

constexpr std::int64_t kSmallestSide = 32;
constexpr double kEpsilon = 1e-10;

/// One convolution of the backbone: what comes before it, its geometry, and whether its activation is compared.
struct Layer {
  std::int64_t pool_window = 0;  ///< 0: no pooling before it
  std::int64_t stride = 1;
  std::int64_t padding = 1;
  bool compared = false;
};

struct Backbone {
  const char* file;
  const char* prefix;
  std::vector<Layer> layers;
};

const Backbone kAlexNet{"alexnet.safetensors",
                        "AlexNet_0",
                        {{0, 4, 2, true}, {3, 1, 2, true}, {3, 1, 1, true}, {0, 1, 1, true}, {0, 1, 1, true}}};
const Backbone kVgg16{"vgg16.safetensors",
                      "VGG16_0",
                      {{0},
                       {0, 1, 1, true},
                       {2},
                       {0, 1, 1, true},
                       {2},
                       {0},
                       {0, 1, 1, true},
                       {2},
                       {0},
                       {0, 1, 1, true},
                       {2},
                       {0},
                       {0, 1, 1, true}}};

Weights load_weights(const Backbone& backbone) {
  const char* overridden = std::getenv("I2I_DEPS");
  const std::filesystem::path path =
      std::filesystem::path(overridden != nullptr ? overridden : I2I_DEPS) / "lpips" / backbone.file;
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("LPIPS weights are missing at {}: run ci/setup", path.string()));
  }
  // Stored as [height, width, in, out]; libtorch wants [out, in, height, width].
  Weights weights = read_safetensors(path.string());
  for (auto& [name, tensor] : weights) {
    if (tensor.dim() == 4) tensor = tensor.permute({3, 2, 0, 1}).contiguous();
  }
  return weights;
}

// The activations that are compared, each scaled to unit length along the channels.
std::vector<at::Tensor> features(const Backbone& backbone, const Weights& weights, const at::Tensor& image_hwc) {
  // The published normalisation of inputs in [-1,1].
  const at::Tensor shift = at::tensor({-0.030, -0.088, -0.188}, at::kFloat).view({1, 3, 1, 1});
  const at::Tensor scale = at::tensor({0.458, 0.448, 0.450}, at::kFloat).view({1, 3, 1, 1});
  at::Tensor x = image_hwc.to(at::kFloat).permute({2, 0, 1}).unsqueeze(0) * 2 - 1;
  x = ((x - shift) / scale).contiguous();
  std::vector<at::Tensor> result;
  for (std::size_t i = 0; i < backbone.layers.size(); ++i) {
    const Layer& layer = backbone.layers[i];
    if (layer.pool_window > 0) x = at::max_pool2d(x, layer.pool_window, 2);
    const std::string name = fmt::format("{}.Conv_{}", backbone.prefix, i);
    x = at::relu(at::conv2d(x, weights.at(name + ".kernel"), weights.at(name + ".bias"), layer.stride, layer.padding));
    if (layer.compared) result.push_back(x / (x.square().sum(1, true).sqrt() + kEpsilon));
  }
  return result;
}

double lpips(const Backbone& backbone, const Weights& weights, const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.size(0) < kSmallestSide || a.size(1) < kSmallestSide) {
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("lpips needs two pictures of one size, at least {} x {}; given {} x {} and {} x {}",
                            kSmallestSide, kSmallestSide, a.size(1), a.size(0), b.size(1), b.size(0)));
  }
  const c10::NoGradGuard no_grad;
  const auto features_a = features(backbone, weights, a), features_b = features(backbone, weights, b);
  double distance = 0;
  for (std::size_t i = 0; i < features_a.size(); ++i) {
    const at::Tensor& linear = weights.at(fmt::format("NetLinLayer_{}.Conv_0.kernel", i));
    distance += at::conv2d((features_a[i] - features_b[i]).square(), linear).mean().item<double>();
  }
  return distance;
}

}  // namespace

double lpips_alex(const at::Tensor& a, const at::Tensor& b) {
  static const Weights weights = load_weights(kAlexNet);
  return lpips(kAlexNet, weights, a, b);
}

double lpips_vgg(const at::Tensor& a, const at::Tensor& b) {
  static const Weights weights = load_weights(kVgg16);
  return lpips(kVgg16, weights, a, b);
}

}  // namespace i2i
