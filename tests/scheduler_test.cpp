// The promise: the reference's schedulers lay out diffusers' timesteps and noise levels for every count, spacing and
// prediction type, and their steps follow diffusers' trajectories (float64) within 2e-6 of the largest magnitude.
#include "reference/scheduler.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "interface/noise.h"
#include "interface/scheduler_spec.h"
#include "tests/golden.h"

namespace i2i {
namespace {

constexpr double kTrajectoryTolerance = 2e-6;
// Where diffusers' own float32 is further than that from its float64 (sigma 4096 of zero SNR cancels), this many times
// it.
constexpr double kTimesOwnDistance = 2;
// Fractions of Karras' levels come from float32 logarithms, whose last bit numpy and libm do not share.
constexpr double kKarrasTimestepTolerance = 1.3e-4;  // two float32 steps below 1024

struct Goldens {
  nlohmann::json document = golden::read_json(golden::kFolder + "schedules.json");
  Weights tensors = read_safetensors(golden::kFolder + "schedules.safetensors");
};

const Goldens& goldens() {
  static const Goldens all;
  return all;
}

std::unique_ptr<reference::Scheduler> scheduler_for(const nlohmann::json& config, at::ScalarType arithmetic) {
  ModelConfig model;
  model.text_encoders.resize(2);  // SDXL: the one family whose pipeline changes nothing in a scheduler's configuration
  model.unet.in_channels = 4;
  model.scheduler = config;
  return reference::make_scheduler(resolve_scheduler("", model), arithmetic);
}

std::string label(const nlohmann::json& config) {
  auto shown = config;
  for (const auto* key : {"beta_start", "beta_end", "beta_schedule"}) shown.erase(key);
  return shown.dump();
}

TEST(Schedule, TimestepsAndSigmasAreDiffusers) {
  int compared = 0;
  for (const auto& entry : goldens().document.at("schedules")) {
    const auto scheduler = scheduler_for(entry.at("config"), at::kFloat);
    const bool karras = entry.at("config").value("use_karras_sigmas", false);
    const auto timesteps = goldens().tensors.at(entry.at("timesteps"));
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
        ASSERT_LE(std::abs(timestep - wanted), karras ? kKarrasTimestepTolerance : 0)
            << where << ", entry " << k << ": " << timestep << " instead of " << wanted;
      }
      ++compared;
      if (!entry.contains("sigmas")) continue;
      const auto wanted = goldens().tensors.at(entry.at("sigmas")).narrow(0, sigma_offset, entries + 1).to(at::kDouble);
      sigma_offset += entries + 1;
      const auto sigmas = scheduler->sigmas().to(at::kDouble);
      ASSERT_EQ(sigmas.sizes(), wanted.sizes()) << where;
      // Relative to each level: an error of the smallest one matters as much as of the largest.
      const auto off = ((sigmas - wanted).abs() / wanted.abs().clamp_min(1e-6)).max().item<double>();
      ASSERT_LE(off, 1e-6) << where;
    }
  }
  EXPECT_GT(compared, 800);
}

/// The stand-in for a model that schedules.py has, word for word.
at::Tensor answer(const at::Tensor& sample, double timestep) {
  const auto x = sample.to(at::kDouble);
  const auto phase = at::arange(x.numel(), at::kDouble).reshape(x.sizes());
  return 0.5 * at::sin(0.7 * x + 0.004 * timestep + 0.9 * phase) + 0.3 * at::cos(0.2 * x - 0.5 * phase);
}

/// The sample after each executed step. Draws in order: x0, start noise, then the steps' own.
std::vector<at::Tensor> run_trajectory(reference::Scheduler& scheduler, int steps, double strength, std::uint64_t seed,
                                       at::ScalarType dtype) {
  NoiseSource source(seed, 1, NoiseMode::kPerImage);
  const auto draw = [&] { return source.draw(4, 1, 2).to(dtype); };
  const auto original = draw();
  const auto noise = draw();
  scheduler.set_timesteps(steps);
  const auto t_start = static_cast<std::size_t>(steps - std::clamp(static_cast<int>(steps * strength), 1, steps));
  auto sample =
      t_start == 0 ? noise * scheduler.init_noise_sigma().to(dtype) : scheduler.add_noise(original, noise, t_start);
  std::vector<at::Tensor> out;
  for (std::size_t step = t_start; step < scheduler.timesteps().size(); ++step) {
    const auto noise_pred = answer(scheduler.scale_model_input(sample, step), scheduler.timesteps()[step]).to(dtype);
    sample = scheduler.step(noise_pred, step, sample, scheduler.needs_noise(step) ? draw() : at::Tensor{});
    out.push_back(sample);
  }
  return out;
}

class Trajectory : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Trajectory, IsDiffusersInFloat64) {
  double largest = 0;
  std::string worst;
  int failures = 0;
  const auto& document = goldens().document;
  for (const auto& run : document.at("trajectories")) {
    const auto& config = document.at("schedules").at(run.at("schedule").get<std::size_t>()).at("config");
    const auto where = fmt::format("{} steps {} strength {}", label(config), run.at("steps").get<int>(),
                                   run.at("strength").get<double>());
    const auto expected = goldens().tensors.at(run.at("tensor")).to(at::kDouble);
    const auto scheduler = scheduler_for(config, GetParam());
    const auto samples = run_trajectory(*scheduler, run.at("steps"), run.at("strength"), run.at("seed"), GetParam());
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

INSTANTIATE_TEST_SUITE_P(Arithmetic, Trajectory, testing::Values(at::kFloat, at::kDouble),
                         [](const auto& arithmetic) { return arithmetic.param == at::kFloat ? "float32" : "float64"; });

}  // namespace
}  // namespace i2i
