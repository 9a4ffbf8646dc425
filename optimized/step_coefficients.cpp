#include "optimized/step_coefficients.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>

#include "interface/error.h"

namespace i2i {
namespace {

/// What the stepper and the fused operator rely on.
void check(const StepSchedule& schedule, const std::string& name) {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) throw Error(ErrorCode::kGenerationFailed, fmt::format("scheduler {}: {}", name, what));
  };
  const std::size_t executed = schedule.timesteps.size() - schedule.first;
  require(schedule.first < schedule.timesteps.size(), "nothing is left to run");
  require(schedule.rows.size() == executed && schedule.input_scale.size() == executed, "a timestep lacks its row");
  std::size_t remembered = 0;
  for (const StepRow& row : schedule.rows) {
    const auto reads = [](double scalar) { return scalar != 0; };
    require(std::count_if(std::begin(row.history), std::end(row.history), reads) <=
                static_cast<std::ptrdiff_t>(kHistoryReads),
            "a row reads more former outputs than a step can take");
    require(std::none_of(std::begin(row.history) + std::min(remembered, kHistoryDepth), std::end(row.history), reads),
            "a row reads what no row before it has remembered");
    require(row.draws_noise || !row.remembers_noise, "a row remembers noise that it does not draw");
    remembered += (row.remembers ? 1 : 0) + (row.remembers_noise ? 1 : 0);
  }
}

}  // namespace

StepSchedule make_step_schedule(const SchedulerSpec& spec, const ActionPlan& plan) {
  using Maker = StepSchedule (*)(const SchedulerSpec&, const ActionPlan&);
  static const std::map<std::string, Maker> makers = {
#define I2I_SCHEDULER(name) {#name, schedulers::make_##name},
#include "optimized/schedulers.inc"
#undef I2I_SCHEDULER
  };
  const auto maker = makers.find(spec.name);
  if (maker == makers.end()) {
    std::vector<std::string> names;
    for (const auto& [name, unused] : makers) names.push_back(name);
    throw Error(ErrorCode::kUsage, fmt::format("unsupported by the optimized implementation: scheduler {}; it has {}",
                                               spec.name, fmt::join(names, ", ")));
  }
  StepSchedule schedule = maker->second(spec, plan);
  check(schedule, spec.name);
  return schedule;
}

}  // namespace i2i
