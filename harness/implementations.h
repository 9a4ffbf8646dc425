// Implementations by name. Everything else in the harness sees Pipeline only.
#pragma once

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

/// "name,-name,all,-all": features to switch on and off. @throws Error(kUsage)
std::map<std::string, bool> parse_features(const std::string& text);

/// @throws Error(kUsage) unless it is a number in [0, 1]
double parse_guidance_rescale(const std::string& text);

}  // namespace i2i
