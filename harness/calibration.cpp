#include "harness/calibration.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/trace.h"
#include "interface/error.h"
#include "optimized/pipeline.h"

namespace i2i {
namespace {

/// What each network gives out, by its name in a trace (semantics.md section 14).
constexpr std::pair<const char*, const char*> kNetworks[] = {
    {"encoder", "vae.mean"}, {"unet", "loop.unet_out"}, {"decoder", "images"}};

std::string network_of(const std::string& layer) {
  return layer.starts_with("encoder.") ? "encoder" : layer.starts_with("decoder.") ? "decoder" : "unet";
}

bool is_wanted(std::string_view name) {
  return name == "loop.latents_in" ||
         std::any_of(std::begin(kNetworks), std::end(kNetworks), [&](const auto& one) { return name == one.second; });
}

/// The pipeline under calibration and what it gave in fp32.
class Bench {
 public:
  Bench(const std::shared_ptr<const Model>& model, const std::vector<CalibrationRequest>& requests,
        const GenerateOptions& options)
      : int8_(std::make_shared<Int8Layers>(std::set<std::string>{}, true)), requests_(&requests), options_(options) {
    pipeline_ = make_calibration_pipeline(model, int8_);
    for (auto& [name, layer] : int8_->layers()) layer.on = false;
    for (const auto& request : requests) {
      CollectingTrace trace(is_wanted);
      run(request, {}, trace);
      exact_.push_back(std::move(trace));
    }
  }

  std::map<std::string, Int8Layers::Layer>& layers() { return int8_->layers(); }

  /// With the layers that are on now: per network, root mean square of the difference over that of the fp32 value.
  std::map<std::string, double> errors() {
    std::map<std::string, double> difference, magnitude;
    for (std::size_t i = 0; i < requests_->size(); ++i) {
      CollectingTrace trace(is_wanted);
      run((*requests_)[i], at::stack(exact_[i].of("loop.latents_in")), trace);
      for (const auto& [network, name] : kNetworks) {
        const auto &got = trace.of(name), &exact = exact_[i].of(name);
        for (std::size_t k = 0; k < exact.size(); ++k) {
          const at::Tensor truth = exact[k].to(at::kDouble);
          difference[network] += (got[k].to(at::kDouble) - truth).square().mean().item<double>();
          magnitude[network] += truth.square().mean().item<double>();
        }
      }
    }
    std::map<std::string, double> errors;
    for (const auto& [network, square] : difference) {
      errors[network] = std::sqrt(square / std::max(magnitude[network], 1e-30));
    }
    return errors;
  }

 private:
  void run(const CalibrationRequest& request, const at::Tensor& locked, CollectingTrace& trace) {
    GenerateOptions options = options_;
    options.trace = &trace;
    options.locked_latents = locked;
    pipeline_->generate(request.first, request.second, options);
  }

  std::shared_ptr<Int8Layers> int8_;
  std::unique_ptr<Pipeline> pipeline_;
  const std::vector<CalibrationRequest>* requests_;
  GenerateOptions options_;
  std::vector<CollectingTrace> exact_;
};

std::vector<std::pair<std::string, double>> in_order(const std::map<std::string, double>& errors) {
  std::vector<std::pair<std::string, double>> rows;
  for (const auto& [network, name] : kNetworks) rows.emplace_back(network, errors.at(network));
  return rows;
}

}  // namespace

std::vector<std::string> layers_to_keep(std::vector<LayerSensitivity>& layers, double budget) {
  std::sort(layers.begin(), layers.end(), [](const LayerSensitivity& a, const LayerSensitivity& b) {
    return a.error * a.error * b.share > b.error * b.error * a.share;
  });
  std::map<std::string, double> left;
  for (const LayerSensitivity& layer : layers) left[layer.network] += layer.error * layer.error;
  std::vector<std::string> kept;
  for (const LayerSensitivity& layer : layers) {
    double& square = left[layer.network];
    if (square <= budget * budget) continue;
    square -= layer.error * layer.error;
    kept.push_back(layer.layer);
  }
  return kept;
}

Calibration calibrate(const std::shared_ptr<const Model>& model, const std::vector<CalibrationRequest>& requests,
                      const GenerateOptions& options, double budget,
                      const std::function<void(std::size_t, std::size_t)>& at_layer) {
  for (const CalibrationRequest& request : requests) {
    if (!request.first.seed) throw Error(ErrorCode::kUsage, "calibration needs the same noise in every run: /seed");
  }
  Bench bench(model, requests, options);
  if (bench.layers().empty()) throw Error(ErrorCode::kUsage, "no layer of this model can run in int8");
  std::map<std::string, double> operations;
  for (const auto& [name, layer] : bench.layers()) operations[network_of(name)] += layer.operations;

  Calibration calibration;
  std::map<std::string, double> shares;
  for (const auto& [name, layer] : bench.layers()) shares[name] = layer.operations / operations[network_of(name)];
  for (auto& [name, layer] : bench.layers()) {
    at_layer(calibration.layers.size(), bench.layers().size());
    layer.on = true;
    const std::string network = network_of(name);
    calibration.layers.push_back({name, network, bench.errors().at(network), shares[name]});
    layer.on = false;
  }
  calibration.layers_in_fp32 = layers_to_keep(calibration.layers, budget);
  for (auto& [name, layer] : bench.layers()) layer.on = true;
  calibration.error_of_all = in_order(bench.errors());
  for (const std::string& name : calibration.layers_in_fp32) bench.layers().at(name).on = false;
  calibration.error_left = in_order(bench.errors());
  return calibration;
}

}  // namespace i2i
