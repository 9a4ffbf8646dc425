// What LCM and TCD share: models distilled along a grid of original_inference_steps timesteps, sampled at a few of
// them.
#pragma once

#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

struct Consistency {
  StepSchedule schedule;  ///< timesteps, first and start; no rows yet
  Values abar;            ///< the training table

  double abar_at(std::size_t i) const { return abar[static_cast<std::size_t>(schedule.timesteps[i])]; }
  bool is_last(std::size_t i) const { return i + 1 == schedule.timesteps.size(); }
  void add(const StepRow& row) {
    schedule.rows.push_back(row);
    schedule.input_scale.push_back(1);
  }
};

/// @throws Error(kUsage) for more steps than original_inference_steps
Consistency consistency_grid(const SchedulerSpec& spec, const ActionPlan& plan);

}  // namespace i2i::schedulers
