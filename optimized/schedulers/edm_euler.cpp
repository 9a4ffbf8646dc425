#include "optimized/schedulers/edm.h"

namespace i2i::schedulers {

/// Karras et al. 2022, arXiv:2206.00364, algorithm 2, first order and without churn.
StepSchedule make_edm_euler(const SchedulerSpec& spec, const ActionPlan& plan) {
  StepSchedule schedule = edm_schedule(spec, plan, false);
  for (std::size_t i = schedule.first; i < schedule.timesteps.size(); ++i) {
    const Linear2 x0 = edm_x0(spec, schedule.sigmas[i]);
    const double kept = schedule.sigmas[i + 1] / schedule.sigmas[i];  // of x - x0
    StepRow row;
    row.sample = kept + (1 - kept) * x0.sample;
    row.noise_pred = (1 - kept) * x0.model;
    schedule.rows.push_back(row);
  }
  return schedule;
}

}  // namespace i2i::schedulers
