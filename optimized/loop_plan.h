// What a request means for one model, before anything is computed: size and guidance, the schedule as rows of scalars,
// and what each executed step evaluates. Called by pipeline.cpp.
#pragma once

#include <vector>

#include "interface/image.h"
#include "interface/pipeline.h"
#include "optimized/step_coefficients.h"
#include "optimized/step_plan.h"

namespace i2i {

struct LoopPlan {
  ActionPlan action;
  StepSchedule schedule;
  std::vector<double> timesteps;  ///< of the executed steps
  std::vector<StepWork> work;     ///< per executed step
  StepSavings savings;            ///< that `work` lays out
  int batch_size = 1;
};

/// Rows of the guidance batch per picture: 1, 2 or 3.
int guidance_rows(GuidanceMode mode);

/// @param resnets_up  on the UNet's way up: the deepest that reuse may go
/// @throws Error(kInvalidRequest) where a size floors to 0
/// @throws Error(kUsage) for a schedule that is not linear, savings out of their bounds, or locked latents of another
///         number of steps
LoopPlan plan_loop(const Request& request, const ModelConfig& model, const Image& source,
                   const GenerateOptions& options, std::size_t resnets_up);

/// Hands out the schedule's timesteps and sigmas. @param trace  may be null
void trace_schedule(const LoopPlan& plan, TraceSink* trace);

}  // namespace i2i
