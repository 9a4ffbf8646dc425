// The action through the fused operators. Plan once (schedule as rows of scalars, text keys and values, timestep
// embeddings), then run. Called by the harness; everything else of this folder is behind it.
//
// pipeline.cpp has the action in numbered steps. What they are made of:
//   loop_plan              what the request means: size, schedule, and what each step evaluates
//   image_codec            pictures to latents and back
//   conditioning           prompts as the UNet receives them
//   latent_noise           the draws
//   predictor, stepper     the two halves of a step: UNet, then guidance and scheduler
//   runtimes               where, in which type and with which features each part computes
//   device_watch           what a device says late: times, values that are not finite, kernels replaced
#pragma once

#include <memory>

#include "interface/pipeline.h"
#include "optimized/int8_layers.h"

namespace i2i {

/// @throws Error(kUsage) for an unknown feature, a device or dtype that this build or processor does not run
std::unique_ptr<Pipeline> make_optimized_pipeline(std::shared_ptr<const Model> model,
                                                  const PipelineOptions& options = {});

/// One on the CPU whose layers the caller switches between fp32 and int8 from run to run: `layers` is switchable and is
/// filled here.
std::unique_ptr<Pipeline> make_calibration_pipeline(std::shared_ptr<const Model> model,
                                                    std::shared_ptr<Int8Layers> layers);

}  // namespace i2i
