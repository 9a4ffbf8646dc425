// Euler ancestral differs from Euler in one step's target and noise: see euler.cpp.
#include "optimized/schedulers/tables.h"

namespace i2i::schedulers {

StepSchedule make_euler_a(const SchedulerSpec& spec, const ActionPlan& plan) {
  return euler_schedule(spec, plan, true);
}

}  // namespace i2i::schedulers
