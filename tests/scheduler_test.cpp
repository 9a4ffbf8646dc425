// The promise: the reference's schedulers lay out diffusers' timesteps and noise levels for every count, spacing and
// prediction type, and their steps follow diffusers' trajectories (float64) within 2e-6 of the largest magnitude.
// Locked to float64 truth, each of fifty steps of each scheduler is within 2e-6.
#include "reference/scheduler.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/goldens.h"
#include "interface/noise.h"
#include "interface/scheduler_spec.h"

namespace i2i {
namespace {

constexpr double kTrajectoryTolerance = 2e-6;
// Where diffusers' own float32 is further than that from its float64 (sigma 4096 of zero SNR cancels), this many times
// it.
constexpr double kTimesOwnDistance = 2;
// Fractions of Karras' levels come from float32 logarithms, whose last bit numpy and libm do not share.
constexpr double kKarrasTimestepTolerance = 1.3e-4;  // two float32 steps below 1024

struct Goldens {
  explicit Goldens(const std::string& stem)
      : document(golden::read_json(golden::default_folder() + stem + ".json")),
        tensors(read_safetensors(golden::default_folder() + stem + ".safetensors")) {}
  nlohmann::json document;
  Weights tensors;
};

/// "schedules" has the solvers of diffusion models' ODE, "samplers" those of k-diffusion, consistency models and EDM.
const Goldens& goldens(const std::string& stem) {
  static std::map<std::string, Goldens> read;
  return read.try_emplace(stem, stem).first->second;
}

std::unique_ptr<reference::Scheduler> scheduler_for(const nlohmann::json& config, at::ScalarType arithmetic) {
  ModelConfig model;
  model.unet.text_time_conditioning = true;  // SDXL, whose pipeline changes nothing in a scheduler configuration
  model.unet.in_channels = 4;
  model.scheduler = config;
  auto spec = resolve_scheduler("", model);
  if (config.contains("eta")) spec.config["eta"] = config.at("eta");  // an argument of step, never a configuration's
  return reference::make_scheduler(spec, arithmetic);
}

std::string label(const nlohmann::json& config) {
  auto shown = config;
  for (const auto* key : {"beta_start", "beta_end", "beta_schedule"}) shown.erase(key);
  return shown.dump();
}

class Schedule : public testing::TestWithParam<std::string> {};

TEST_P(Schedule, TimestepsAndSigmasAreDiffusers) {
  int compared = 0;
  const auto& golden = goldens(GetParam());
  for (const auto& entry : golden.document.at("schedules")) {
    const auto scheduler = scheduler_for(entry.at("config"), at::kFloat);
    const std::string class_name = entry.at("config").at("_class_name");
    // Also what lies between two levels, and EDM's logarithms.
    bool has_grid = entry.at("config").contains("timestep_type") || class_name.starts_with("KDPM2") ||
                    class_name.starts_with("DPMSolverSDE") || class_name.starts_with("EDM");
    for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"}) {
      has_grid = has_grid || entry.at("config").value(key, false);
    }
    const auto timesteps = golden.tensors.at(entry.at("timesteps"));
    std::int64_t timestep_offset = 0;
    std::int64_t sigma_offset = 0;
    for (std::size_t i = 0; i < entry.at("steps").size(); ++i) {
      const int steps = entry.at("steps")[i];
      const std::int64_t entries = entry.at("entries")[i];
      const auto where = fmt::format("{} with {} steps", label(entry.at("config")), steps);
      scheduler->set_timesteps(steps);
      const auto expected = timesteps.narrow(0, timestep_offset, entries).to(at::kDouble);
      timestep_offset += entries;
      ASSERT_EQ(scheduler->timesteps().size(), static_cast<std::size_t>(entries)) << where;
      for (std::int64_t k = 0; k < entries; ++k) {
        const double timestep = static_cast<float>(scheduler->timesteps()[static_cast<std::size_t>(k)]);
        const auto wanted = expected[k].item<double>();
        // DPM2 ancestral's level below the next one is the root of a difference, which rounding may bring below 0.
        if (std::isnan(timestep) && std::isnan(wanted)) continue;
        ASSERT_LE(std::abs(timestep - wanted), has_grid ? kKarrasTimestepTolerance : 0)
            << where << ", entry " << k << ": " << timestep << " instead of " << wanted;
      }
      ++compared;
      if (!entry.contains("sigmas")) continue;
      const auto sigmas = scheduler->sigmas().to(at::kDouble);
      const std::int64_t levels = entry.at("levels")[i];
      const auto wanted = golden.tensors.at(entry.at("sigmas")).narrow(0, sigma_offset, levels).to(at::kDouble);
      sigma_offset += levels;
      ASSERT_EQ(sigmas.sizes(), wanted.sizes()) << where;
      // Relative to each level: an error of the smallest one matters as much as of the largest.
      const auto off = ((sigmas - wanted).abs() / wanted.abs().clamp_min(1e-6)).max().item<double>();
      ASSERT_LE(off, 1e-6) << where;
    }
  }
  EXPECT_GT(compared, GetParam() == "schedules" ? 2500 : 1500);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Schedule, testing::Values("schedules", "samplers"),
                         [](const auto& stem) { return stem.param; });

/// The stand-in for a model that schedules.py has, word for word.
at::Tensor answer(const at::Tensor& sample, double timestep) {
  const auto x = sample.to(at::kDouble);
  const auto phase = at::arange(x.numel(), at::kDouble).reshape(x.sizes());
  return 0.5 * at::sin(0.7 * x + 0.004 * timestep + 0.9 * phase) + 0.3 * at::cos(0.2 * x - 0.5 * phase);
}

/// The sample after each executed step. Draws in order: x0, start noise, then the steps' own.
/// @param locked  [L,...], or undefined: what each step but the first starts from, in place of the step before
std::vector<at::Tensor> run_trajectory(reference::Scheduler& scheduler, int steps, double strength, std::uint64_t seed,
                                       at::ScalarType dtype, bool learned_variance, const at::Tensor& locked = {}) {
  NoiseSource source(seed, 1, NoiseMode::kPerImage);
  const auto draw = [&] { return source.draw(4, 1, 2).to(dtype); };
  const auto original = draw();
  const auto noise = draw();
  scheduler.set_timesteps(steps);
  const int skipped = steps - std::clamp(static_cast<int>(steps * strength), 1, steps);
  const auto t_start = static_cast<std::size_t>(skipped) * static_cast<std::size_t>(scheduler.order());
  const auto step_noise = [&](std::size_t step) {
    if (!scheduler.needs_noise(step)) return at::Tensor{};
    const auto interval = scheduler.noise_interval(step);
    return interval ? source.draw_interval(*interval, 4, 1, 2).to(dtype) : draw();
  };
  auto sample =
      t_start == 0 ? noise * scheduler.init_noise_sigma().to(dtype) : scheduler.add_noise(original, noise, t_start);
  std::vector<at::Tensor> out;
  for (std::size_t step = t_start; step < scheduler.timesteps().size(); ++step) {
    auto noise_pred = answer(scheduler.scale_model_input(sample, step), scheduler.timesteps()[step]).to(dtype);
    if (learned_variance) noise_pred = at::cat({noise_pred, noise_pred.square()}, 1);
    sample = scheduler.step(noise_pred, step, sample, step_noise(step));
    out.push_back(sample);
    if (locked.defined()) sample = locked[static_cast<std::int64_t>(step - t_start)].to(dtype);
  }
  return out;
}

class Trajectory : public testing::TestWithParam<std::tuple<std::string, at::ScalarType>> {};

TEST_P(Trajectory, IsDiffusersInFloat64) {
  double largest = 0;
  std::string worst;
  int failures = 0;
  const auto& [stem, arithmetic] = GetParam();
  const auto& [document, tensors] = goldens(stem);
  for (const auto& run : document.at("trajectories")) {
    const auto& config = document.at("schedules").at(run.at("schedule").get<std::size_t>()).at("config");
    const auto where = fmt::format("{} steps {} strength {}", label(config), run.at("steps").get<int>(),
                                   run.at("strength").get<double>());
    const auto expected = tensors.at(run.at("tensor")).to(at::kDouble);
    const auto scheduler = scheduler_for(config, arithmetic);
    const bool learned_variance =
        config.contains("variance_type") && config.at("variance_type").get<std::string>().starts_with("learned");
    const auto samples =
        run_trajectory(*scheduler, run.at("steps"), run.at("strength"), run.at("seed"), arithmetic, learned_variance);
    ASSERT_EQ(static_cast<std::int64_t>(samples.size()), expected.size(0)) << where;
    const auto scale = std::max(1.0, expected.abs().max().item<double>());
    const auto allowed = std::max(kTrajectoryTolerance, kTimesOwnDistance * run.at("float64_distance").get<double>());
    for (std::int64_t step = 0; step < expected.size(0); ++step) {
      const auto off =
          (samples[static_cast<std::size_t>(step)].to(at::kDouble) - expected[step]).abs().max().item<double>() / scale;
      if (off > largest && allowed == kTrajectoryTolerance) {
        largest = off;
        worst = where;
      }
      if (!(off <= allowed)) {
        ADD_FAILURE() << where << ": off by " << off << " at executed step " << step << ", " << allowed << " allowed";
        ++failures;
        break;
      }
    }
    ASSERT_LT(failures, 20) << "and perhaps more";
  }
  fmt::print("  {} trajectories, the worst {:.1e} of {:.1e}: {}\n", document.at("trajectories").size(), largest,
             kTrajectoryTolerance, worst);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Trajectory,
                         testing::Combine(testing::Values("schedules", "samplers"),
                                          testing::Values(at::kFloat, at::kDouble)),
                         [](const auto& run) {
                           return std::get<0>(run.param) +
                                  (std::get<1>(run.param) == at::kFloat ? "_float32" : "_float64");
                         });

// No scheduler is excused here, and no step: the truth is float64 and stored so, the arithmetic float32, and every step
// starts from the truth, multistep schedulers with a history of it.
TEST(StepLocked, EachOfFiftyStepsOfEverySchedulerIsWithinItsTolerance) {
  const auto& [document, tensors] = goldens("steps");
  std::map<std::string, double> worst;
  for (const auto& run : document.at("runs")) {
    const auto& config = run.at("config");
    const auto truth = tensors.at(run.at("tensor"));
    ASSERT_EQ(truth.scalar_type(), at::kDouble);
    ASSERT_EQ(run.at("steps"), 50);
    ASSERT_EQ(run.at("strength"), 1.0);
    const auto scheduler = scheduler_for(config, at::kFloat);
    const auto samples = run_trajectory(*scheduler, 50, 1.0, run.at("seed"), at::kFloat, false, truth);
    ASSERT_GE(samples.size(), 50u) << label(config);
    ASSERT_EQ(static_cast<std::int64_t>(samples.size()), truth.size(0)) << label(config);
    double& largest = worst[run.at("scheduler").get<std::string>()];
    for (std::size_t step = 0; step < samples.size(); ++step) {
      const auto expected = truth[static_cast<std::int64_t>(step)];
      ASSERT_EQ(samples[step].scalar_type(), at::kFloat);
      const auto off =
          (samples[step].to(at::kDouble) - expected).abs().max().item<double>() / expected.abs().max().item<double>();
      EXPECT_LE(off, kTrajectoryTolerance) << label(config) << ", step " << step;
      largest = std::max(largest, off);
    }
  }
  for (const SchedulerDescription& known : known_schedulers()) {
    EXPECT_TRUE(worst.contains(known.name)) << known.name << " has no run in steps.json";
    fmt::print("  {:<14} {:.1e} of {:.1e}\n", known.name, worst[known.name], kTrajectoryTolerance);
  }
}

}  // namespace
}  // namespace i2i
