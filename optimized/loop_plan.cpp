#include "optimized/loop_plan.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "interface/error.h"

namespace i2i {

int guidance_rows(GuidanceMode mode) { return mode == GuidanceMode::kNone ? 1 : mode == GuidanceMode::kText ? 2 : 3; }

LoopPlan plan_loop(const Request& request, const ModelConfig& model, const Image& source,
                   const GenerateOptions& options, std::size_t resnets_up) {
  LoopPlan plan;
  plan.action = plan_action(request, model, source.width, source.height);
  plan.schedule = make_step_schedule(options.scheduler, plan.action);
  const auto& timesteps = plan.schedule.timesteps;
  plan.timesteps.assign(timesteps.begin() + static_cast<std::ptrdiff_t>(plan.schedule.first), timesteps.end());
  plan.work = plan_steps(options.savings, plan.timesteps, resnets_up);
  plan.savings = options.savings;
  plan.batch_size = request.batch_size;
  const std::size_t steps = plan.schedule.rows.size();
  if (options.locked_latents.defined() && options.locked_latents.size(0) != static_cast<std::int64_t>(steps)) {
    throw Error(ErrorCode::kUsage, fmt::format("locked latents hold {} steps, the schedule runs {}",
                                               options.locked_latents.size(0), steps));
  }
  return plan;
}

void trace_schedule(const LoopPlan& plan, TraceSink* trace) {
  if (trace == nullptr) return;
  const StepSchedule& schedule = plan.schedule;
  trace->tensor("schedule.timesteps", -1, at::tensor(schedule.timesteps, at::kDouble).to(at::kFloat));
  if (!schedule.sigmas.empty())
    trace->tensor("schedule.sigmas", -1, at::tensor(schedule.sigmas, at::kDouble).to(at::kFloat));
  trace->tensor("schedule.timesteps_run", -1, at::tensor(plan.timesteps, at::kDouble));
}

}  // namespace i2i
