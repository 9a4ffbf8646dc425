// The reference: the whole action in plain libtorch, numerically equal to diffusers. It promises no speed beyond what
// diffusers' own eager mode has, and no result that depends on anything but request, source, model and options.
// Called by the harness through the Pipeline interface.
#pragma once

#include <memory>

#include "interface/pipeline.h"

namespace i2i {

/// @param options  device "cpu", or "cuda" where libtorch has it; dtype kFloat (the promise), kDouble (the truth that
///                 tolerances are measured against), kBFloat16 or kHalf; no features
/// @throws Error(kUsage) for another device, dtype or any feature; Error(kGenerationFailed) for unusable weights
std::unique_ptr<Pipeline> make_reference_pipeline(std::shared_ptr<const Model> model, const PipelineOptions& options);

}  // namespace i2i
