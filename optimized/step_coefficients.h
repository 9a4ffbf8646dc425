// A scheduler as rows of scalars. Every scheduler here is linear in what a step reads, so one step is
//   prev_sample = sample * x + noise_pred * m + noise * n + sum_k history[k] * h_k
// with scalars worked out in double before the loop (semantics.md sections 6 and 8); one fused operator runs them all
// (stepper.h). Clipping and thresholding x_0 are not linear: such configurations are refused by name. Each scheduler is
// one file of schedulers/ and one line of schedulers.inc. Called by loop_plan.cpp.
//
// How schedulers that are more than one formula per step become rows:
//   several evaluations per step (Heun, DPM2)   one row each; the first remembers what the second needs of x and m
//   several former outputs (LMS, DEIS, UniPC)   each row remembers its own output; the next ones read it by age
//   a sample before x (PNDM, UniPC, DPM++ 2S)   follows from x and history, for x was made of it by the row before
//   preconditioned models (EDM)                 scalars of the row and input_scale
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "interface/action_plan.h"
#include "interface/noise.h"
#include "interface/scheduler_spec.h"

namespace i2i {

/// How many of the newest remembered tensors a row may name, and how many of them it may read at once.
constexpr std::size_t kHistoryDepth = 9;
constexpr std::size_t kHistoryReads = 3;

/// m is the model's output after guidance, whatever it predicts; h_k is the k-th newest tensor that rows before this
/// one remembered.
struct StepRow {
  double sample = 0;
  double noise_pred = 0;
  double noise = 0;
  double history[kHistoryDepth] = {};  ///< at most kHistoryReads of them are not 0
  bool draws_noise = false;            ///< a draw is made even where its scalar is 0
  std::optional<NoiseInterval> path;   ///< where the noise lies on a Brownian path; nothing for a fresh draw
  bool remembers = false;              ///< remember_sample * x + remember_noise_pred * m becomes the newest history
  bool remembers_noise = false;        ///< the draw becomes history too, newer than that
  double remember_sample = 0;
  double remember_noise_pred = 0;
};

struct StepSchedule {
  std::vector<double> timesteps;  ///< the full schedule, one entry per model evaluation
  std::vector<double> sigmas;     ///< one more, the last one final; empty where the scheduler knows none
  std::size_t first = 0;          ///< where the executed part starts
  double start_sample = 0;        ///< start latents = start_sample * z + start_noise * noise
  double start_noise = 1;
  std::vector<double> input_scale;  ///< per executed entry: what the UNet's sample is multiplied with
  std::vector<StepRow> rows;        ///< per executed entry
};

/// @throws Error(kUsage) naming what is not linear or not known
StepSchedule make_step_schedule(const SchedulerSpec& spec, const ActionPlan& plan);

namespace schedulers {
#define I2I_SCHEDULER(name) StepSchedule make_##name(const SchedulerSpec& spec, const ActionPlan& plan);
#include "optimized/schedulers.inc"
#undef I2I_SCHEDULER
}  // namespace schedulers

}  // namespace i2i
