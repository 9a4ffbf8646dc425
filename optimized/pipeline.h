// The action through the fused operators. Plan once (schedule as rows of scalars, text keys and values, timestep
// embeddings), then run. Called by the harness; everything else of this folder is behind it.
#pragma once

#include <memory>

#include "interface/pipeline.h"

namespace i2i {

/// @throws Error(kUsage) for an unknown feature, a device or dtype that this build or processor does not run
std::unique_ptr<Pipeline> make_optimized_pipeline(std::shared_ptr<const Model> model,
                                                  const PipelineOptions& options = {});

}  // namespace i2i
