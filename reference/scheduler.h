// What a scheduler is to the pipeline: a list of timesteps, a way to add noise, and one step from x_t to x_{t-1}.
// Each scheduler is one file in schedulers/ that can be read beside its paper; noise_schedule.h holds the tables they
// share. Called by pipeline.cpp, which draws all noise itself.
//
// Notation of all files here, with diffusers' names:
//   N      num_train_timesteps, usually 1000; t in [0, N) is a training index
//   n      num_inference_steps
//   abar   alphas_cumprod[t], the product of (1 - beta) up to t
//   sigma  sqrt((1 - abar) / abar), the noise level of x / sqrt(abar)
//   x      sample at t;  x0  pred_original_sample;  m  noise_pred, what the model gave (epsilon, v or x0)
// Scalars are 0-dimensional tensors: float32 as in diffusers, float64 in a float64 run; tables are float32 always.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "interface/noise.h"
#include "interface/scheduler_spec.h"

namespace i2i::reference {

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  /// Lays out the schedule for n steps and forgets the state of an earlier run.
  /// @throws Error(kUsage) for an n that this configuration cannot run
  virtual void set_timesteps(int num_inference_steps) = 0;

  /// One entry per model evaluation of the full schedule, in order. Euler's may have fractions.
  const std::vector<double>& timesteps() const { return timesteps_; }

  /// Schedule entries per step: 2 where a step evaluates the model twice. A start in the middle skips whole steps.
  virtual int order() const { return 1; }

  /// Float32 noise levels, one per entry and a final one (DPM2 has two more); undefined where the scheduler works on
  /// alphas_cumprod alone.
  virtual at::Tensor sigmas() const { return {}; }

  /// What unit noise is multiplied with to be x at the first timestep; a 0-dimensional tensor.
  virtual at::Tensor init_noise_sigma() const { return at::ones({}); }

  /// x as the model wants it at schedule entry `step`.
  virtual at::Tensor scale_model_input(const at::Tensor& sample, std::size_t /*step*/) const { return sample; }

  /// x at schedule entry `step`, from x0 and noise of the same shape.
  virtual at::Tensor add_noise(const at::Tensor& original, const at::Tensor& noise, std::size_t step) const = 0;

  /// True where step() reads `noise`; diffusers draws exactly then.
  virtual bool needs_noise(std::size_t /*step*/) const { return false; }

  /// Where on a Brownian path the noise of this entry lies; nothing where it is a fresh draw.
  virtual std::optional<NoiseInterval> noise_interval(std::size_t /*step*/) const { return std::nullopt; }

  /// x at the next level. Multistep schedulers remember earlier calls, so steps are taken in order, from any first one.
  /// @param noise_pred  [B,C,h,w], after guidance
  /// @param step        entry of the full schedule, not of the part that strength leaves
  /// @param noise       [B,C,h,w] where needs_noise(step), otherwise undefined
  virtual at::Tensor step(const at::Tensor& noise_pred, std::size_t step, const at::Tensor& sample,
                          const at::Tensor& noise) = 0;

 protected:
  std::vector<double> timesteps_;
};

/// A SchedulerSpec's configuration, read key by key. What nobody read or refused is an error: never ignored.
class SchedulerConfig {
 public:
  explicit SchedulerConfig(const SchedulerSpec& spec) : spec_(spec) {}

  /// Each throws Error(kUsage) naming the key where it is absent or of another type.
  double number(const std::string& key);
  int integer(const std::string& key);
  bool boolean(const std::string& key);
  std::string one_of(const std::string& key, std::initializer_list<const char*> values);

  /// The value, or `fallback` where the key is absent or null.
  double number_or(const std::string& key, double fallback);

  /// A list of numbers; empty where the key is absent or null. Not more than 1e6 of them.
  std::vector<double> numbers_or_none(const std::string& key);

  /// `value` is all that is implemented here: anything else throws Error(kUsage) naming key and value.
  void only(const std::string& key, const nlohmann::json& value);

  /// These act only together with something that is refused or off.
  void without_effect(std::initializer_list<const char*> keys);

  /// Throws Error(kUsage) naming the keys that were not asked for.
  void finish() const;

  const std::string& scheduler_name() const { return spec_.name; }

 private:
  /// The key's value, null where absent; marks it as read.
  const nlohmann::json& take(const std::string& key);

  const SchedulerSpec& spec_;
  std::set<std::string> read_;
};

/// The scheduler of that name. @param arithmetic  dtype of the scalars, kFloat or kDouble
/// @throws Error(kUsage) for a name or configuration value that is not implemented
std::unique_ptr<Scheduler> make_scheduler(const SchedulerSpec& spec, at::ScalarType arithmetic);

#define I2I_SCHEDULER(name) std::unique_ptr<Scheduler> make_##name(SchedulerConfig& config, at::ScalarType arithmetic);
#include "reference/schedulers.inc"
#undef I2I_SCHEDULER

}  // namespace i2i::reference
