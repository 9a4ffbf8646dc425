// What datasets/goldens/make_goldens.py stored of diffusers' runs: requests with the tensor of each stage, and the
// comparison of a pipeline with them. The format is described in datasets/goldens/README.md.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "interface/lora.h"
#include "interface/model_files.h"
#include "interface/pipeline.h"
#include "interface/request.h"

namespace i2i::golden {

/// datasets/goldens/, with the slash; I2I_DATASETS names another datasets folder.
std::string default_folder();

/// @throws Error(kGenerationFailed) where the file cannot be read
nlohmann::json read_json(const std::string& path);

/// One stage of one case as diffusers has it.
struct Stage {
  at::Tensor value;             ///< where `steps` is not empty: only these steps, stacked
  std::vector<int> steps;       ///< executed steps that are stored; empty means all
  double largest = 0;           ///< largest magnitude over all steps
  double float64_distance = 0;  ///< how far diffusers' float32 is from its own float64
};

struct Case {
  std::string family;
  std::string name;
  std::string model_folder;
  std::vector<LoraFile> loras;  ///< merged into the model
  std::string scheduler;        ///< as resolve_scheduler takes it
  Request request;              ///< source_image is an absolute path
  double guidance_rescale = 0;
  std::map<std::string, Stage> stages;
};

/// The model of a case, its LoRA files merged.
std::shared_ptr<const Model> load_model_of(const Case& one);

/// Every family, every case of each, in a stable order.
std::vector<Case> read_cases(const std::string& folder);

/// A stage may be this many times as far from diffusers' float32 as that is from its own float64.
constexpr double kTimesFloat64Distance = 4;

/// (family, stage) -> tolerance relative to the stage's largest magnitude (or 1). Taken over all cases of a family,
/// since one case's rounding errors may cancel by luck. No tolerance is chosen by hand.
using Tolerances = std::map<std::pair<std::string, std::string>, double>;
Tolerances derive_tolerances(const std::vector<Case>& cases);

/// Keeps everything that a pipeline hands out: stages once, loop stages per executed step.
class Collector final : public TraceSink {
 public:
  void tensor(std::string_view name, int step, const at::Tensor& value) override;

  const std::map<std::string, std::vector<at::Tensor>>& stages() const { return stages_; }
  /// Loop stages whose steps did not come as 0, 1, 2, ...
  const std::vector<std::string>& out_of_order() const { return out_of_order_; }

 private:
  std::map<std::string, std::vector<at::Tensor>> stages_;
  std::vector<std::string> out_of_order_;
};

/// kAll: a stage that is not handed out is a failure. kTraced: what is handed out is compared, the pictures always.
enum class Stages { kAll, kTraced };

/// One comparison: how far one tensor is off, and how far it may be.
struct Finding {
  std::string stage;
  int step = -1;                    ///< executed step, for "loop.*"
  std::vector<std::int64_t> index;  ///< of the largest difference
  double distance = 0;
  double allowed = 0;
  std::string problem;  ///< not empty: cannot be compared at all
  bool failed() const { return !problem.empty() || !(distance <= allowed); }
  /// Of the tolerance, 1 being all of it.
  double used() const;
  /// "loop.unet_out at step 3".
  std::string where() const;
};

/// One case run through one pipeline: every comparison in pipeline order, so that the first failed one names the stage.
struct Outcome {
  std::vector<Finding> findings;
  std::vector<std::string> out_of_order;

  /// The first that is off, or null.
  const Finding* first_failed() const;
  /// The worst step of every stage, in pipeline order; failed ones before all others.
  std::vector<Finding> worst_of_stages() const;
};

/// @param options  scheduler, guidance_rescale and trace are the case's
Outcome run_case(const Case& one, const Model& model, Pipeline& pipeline, const Tolerances& tolerances, Stages stages);

}  // namespace i2i::golden
