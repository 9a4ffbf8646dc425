#include "optimized/runtimes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "interface/error.h"
#include "interface/int8_file.h"

namespace i2i {
namespace {

/// Every feature off.
Features plain_features() {
  std::map<std::string, bool> none;
  for (const FeatureDescription& feature : known_features()) none[feature.name] = false;
  return make_features(none);
}

Runtime make_unet_runtime(const PipelineOptions& options, CudaBackend* backend) {
  const Features features = make_features(options.features);
  return backend == nullptr ? Runtime(features, options.dtype) : Runtime(features, options.dtype, backend->device());
}

/// On a GPU text is encoded in float16 whatever the UNet's type is: what it rounds would be in every step, and
/// published text encoders fit it. (In plain fp32 SDXL's two were 29 ms of a request on an H200, nearly a step of its
/// UNet.)
Runtime make_text_runtime(const Features& features, CudaBackend* backend) {
  return backend == nullptr ? Runtime(features, at::kFloat) : Runtime(features, at::kHalf, backend->device());
}

std::unique_ptr<Runtime> make_exact_runtime(const Runtime& unet, CudaBackend* backend) {
  if (backend != nullptr) return std::make_unique<Runtime>(plain_features(), at::kFloat, backend->device());
  return unet.rounds_products() ? std::make_unique<Runtime>(unet.features, at::kFloat) : nullptr;
}

/// Activations of some VAEs outgrow fp16: SDXL's (its config's force_upcast says so), and others that say it.
bool float16_is_too_narrow(const ModelConfig& model, const Runtime& unet) {
  return unet.activation == at::kHalf && (model.is_sdxl() || model.vae.force_upcast);
}

/// The layers that the model's calibration allows. @throws Error(kUsage) where int8 lacks what it needs
std::shared_ptr<Int8Layers> calibrated_layers(const ModelConfig& model, const Features& features,
                                              at::ScalarType dtype) {
  if (!features.packed_weights || dtype != at::kFloat) {
    throw Error(ErrorCode::kUsage, "the feature int8 needs packed_weights and dtype fp32");
  }
  const std::vector<std::string> kept = layers_in_fp32(model.name);
  return std::make_shared<Int8Layers>(std::set<std::string>(kept.begin(), kept.end()));
}

}  // namespace

CudaBackend* backend_for(const PipelineOptions& options) {
  if (options.device == "cuda" || options.device == "cuda-emulated") {
    CudaBackend& backend = cuda_backend(options.device);
    if (options.dtype != at::kBFloat16 && options.dtype != at::kHalf) {
      throw Error(ErrorCode::kUsage, fmt::format("unsupported dtype {} on {}: bfloat16 and float16 are",
                                                 c10::toString(options.dtype), options.device));
    }
    return &backend;
  }
  if (options.device != "cpu")
    throw Error(ErrorCode::kUsage, fmt::format("device {}: known are cpu, cuda, cuda-emulated", options.device));
  if (options.dtype != at::kFloat && options.dtype != at::kBFloat16) {
    throw Error(ErrorCode::kUsage,
                fmt::format("unsupported dtype {} on cpu: float32 and bfloat16 are", c10::toString(options.dtype)));
  }
  return nullptr;
}

Runtimes::Runtimes(const ModelConfig& model, const PipelineOptions& options, CudaBackend* backend,
                   std::shared_ptr<Int8Layers> int8)
    : unet_(make_unet_runtime(options, backend)),
      text_(make_text_runtime(unet_.features, backend)),
      exact_(make_exact_runtime(unet_, backend)),
      int8_(std::move(int8)) {
  if (int8_ == nullptr && features().int8) int8_ = calibrated_layers(model, features(), options.dtype);
  unet_.int8 = int8_.get();
  if (float16_is_too_narrow(model, unet_)) vae_ = std::make_unique<Runtime>(features(), at::kBFloat16, device());
  if (features().overlapped_streams) {
    for (Runtime* runtime : {&unet_, &text_, &vae(), &exact()}) runtime->transfers = backend;
  }
}

void Runtimes::clear_buffers() {
  for (Runtime* runtime : {&unet_, &text_, &vae(), &exact()}) runtime->buffers.clear();
}

void Runtimes::check_int8_names() const {
  if (int8_ == nullptr) return;
  const std::vector<std::string> unknown = int8_->unknown();
  if (!unknown.empty()) {
    throw Error(ErrorCode::kUsage, fmt::format("int8.json keeps {} in fp32, and the model has no such layer of {} or "
                                               "more channels",
                                               fmt::join(unknown, ", "), kLeastInt8Channels));
  }
}

}  // namespace i2i
