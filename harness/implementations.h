// Implementations by name. Everything else in the harness sees Pipeline only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "interface/pipeline.h"

namespace i2i {

/// Names, in implementations.inc's order: the first is the one that others are compared with.
const std::vector<std::string>& implementation_names();

/// @throws Error(kUsage) for an unknown name, listing the known; Error(kInvalidConnection) for "remote:NAME", since a
/// remote
///         provider needs a connection that this program has no configuration for
std::unique_ptr<Pipeline> make_pipeline(const std::string& implementation, std::shared_ptr<const Model> model,
                                        const PipelineOptions& options);

/// "fp32", "bf16", "fp16", "fp64" <-> scalar type. @throws Error(kUsage)
at::ScalarType parse_dtype(const std::string& name);

/// What `--features` asks for: switches for the life of a pipeline, and what each run may leave out.
struct FeatureChoice {
  std::map<std::string, bool> switches;
  StepSavings savings;
  /// Whether the pictures are others: a lossy feature is on.
  bool lossy() const;
};

/// "name,-name,name=value,all,-all": features to switch on and off, later ones last; `all` switches the exact ones on,
/// `-all` every one off. @throws Error(kUsage) naming what is unknown or out of bounds
FeatureChoice parse_features(const std::string& text);

/// @throws Error(kUsage) unless it is a number in [0, 1]
double parse_guidance_rescale(const std::string& text);

}  // namespace i2i
