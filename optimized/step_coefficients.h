// A scheduler as rows of scalars. Every scheduler here is linear in what a step reads, so one step is
//   prev_sample = sample * x + noise_pred * m + noise * n + sum_k history[k] * h_k
// with scalars worked out in double before the loop (semantics.md sections 6 and 8); one fused operator runs them all.
// Clipping and thresholding x_0 are not linear: such configurations are refused by name. Called by pipeline.cpp.
#pragma once

#include <vector>

#include "interface/action_plan.h"
#include "interface/scheduler_spec.h"

namespace i2i {

/// m is the model's output after guidance, whatever it predicts; h_k is what the k-th newest remembering step
/// remembered.
struct StepRow {
  double sample = 0;
  double noise_pred = 0;
  double noise = 0;
  double history[3] = {0, 0, 0};
  bool draws_noise = false;  ///< a draw is made even where its scalar is 0
  bool remembers = false;    ///< remember_sample * x + remember_noise_pred * m becomes the newest history
  double remember_sample = 0;
  double remember_noise_pred = 0;
};

struct StepSchedule {
  std::vector<double> timesteps;  ///< the full schedule
  std::vector<double> sigmas;     ///< [n + 1], empty where the scheduler knows none
  std::size_t first = 0;          ///< where the executed part starts
  double start_sample = 0;        ///< start latents = start_sample * z + start_noise * noise
  double start_noise = 1;
  std::vector<double> input_scale;  ///< per executed step: what the UNet's sample is multiplied with
  std::vector<StepRow> rows;        ///< per executed step
};

/// @throws Error(kUsage) naming what is not linear or not known
StepSchedule make_step_schedule(const SchedulerSpec& spec, const ActionPlan& plan);

}  // namespace i2i
