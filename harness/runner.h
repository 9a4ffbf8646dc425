// Runs one cell: both implementations on the same noise, compared first, timed only if they agree. Keeps models,
// pipelines and source pictures loaded from one cell to the next.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/roofline.h"
#include "harness/sweep.h"
#include "interface/image.h"
#include "interface/lora.h"
#include "interface/model_source.h"
#include "interface/pipeline.h"
#include "reports/report.h"

namespace i2i {

class CudaBackend;

/// CUDA's kernels executed on the CPU: agreement there is "emulated", and time says nothing.
inline constexpr const char* kEmulatedDevice = "cuda-emulated";

class Runner {
 public:
  /// @param device  of the optimized implementation
  /// @param source  how models are loaded; its name is replaced by each cell's
  /// @param reference_device  cpu; or cuda, where eager libtorch is what the optimized implementation is timed against
  explicit Runner(std::string device = "cpu", NoiseMode noise = NoiseMode::kPerImage, ModelSource source = {},
                  std::string reference_device = "cpu")
      : device_(std::move(device)),
        reference_device_(std::move(reference_device)),
        noise_(noise),
        source_(std::move(source)) {}

  /// Never throws for what a cell does wrong: that is its verdict. @throws Error(kUsage) for unknown names
  CellRow run(const Sweep& sweep, const Cell& cell);

  /// The pipeline that a cell would use; loaded at the first call.
  Pipeline& pipeline(const std::string& implementation, const std::string& model, const std::string& dtype,
                     const std::string& features, const std::vector<LoraFile>& loras = {});
  const Model& model(const std::string& name, const std::vector<LoraFile>& loras = {});
  const Image& source(const std::string& address);

 private:
  std::string device_, reference_device_;
  NoiseMode noise_;
  ModelSource source_;
  std::string loaded_model_name_;
  std::vector<LoraFile> loaded_loras_;
  std::shared_ptr<const Model> loaded_model_;
  /// A pipeline of the loaded model, with what it keeps between runs: weights, their packed copies, buffers.
  struct Loaded {
    std::unique_ptr<Pipeline> pipeline;
    std::int64_t kept_bytes = 0, kept_device_bytes = 0;
  };
  struct Checked;
  Checked check(Loaded& loaded, const Request& request, const Image& source, GenerateOptions options) const;
  /// Where either implementation computes on a GPU; else null.
  CudaBackend* gpu() const;
  Loaded& loaded(const std::string& implementation, const std::string& model, const std::string& dtype,
                 const std::string& features, const std::vector<LoraFile>& loras);
  std::map<std::string, Loaded> pipelines_;
  std::map<std::string, Image> sources_;
  std::optional<Roofline> roofline_;  ///< measured before the first profile
};

}  // namespace i2i
