// The promise: the optimized implementation's step tables lay out diffusers' timesteps and noise levels, and their
// rows, run by the stepper in float32 fused and unfused, follow diffusers' float64 trajectories within 2e-6 of the
// largest magnitude. What is not linear is refused by name, and nothing else is.
#include "optimized/step_coefficients.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "harness/goldens.h"
#include "interface/error.h"
#include "interface/noise.h"
#include "optimized/features.h"
#include "optimized/stepper.h"

namespace i2i {
namespace {

constexpr double kTrajectoryTolerance = 2e-6;
// Where diffusers' own float32 is further than that from its float64, this many times it.
constexpr double kTimesOwnDistance = 2;
constexpr double kGridTimestepTolerance =
    1.3e-4;  // two float32 steps below 1024: numpy's and libm's float32 logarithms

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

SchedulerSpec spec_of(const nlohmann::json& config) {
  ModelConfig model;
  model.unet.text_time_conditioning = true;  // SDXL, whose pipeline changes nothing in a scheduler configuration
  model.unet.in_channels = 4;
  model.scheduler = config;
  SchedulerSpec spec = resolve_scheduler("", model);
  if (config.contains("eta")) spec.config["eta"] = config.at("eta");  // an argument of step, never a configuration's
  return spec;
}

ActionPlan plan_of(int steps, double strength) {
  ActionPlan plan;
  plan.num_inference_steps = steps;
  plan.steps_to_run = std::clamp(static_cast<int>(steps * strength), 1, steps);
  plan.t_start = steps - plan.steps_to_run;
  plan.starts_from_noise = plan.t_start == 0;
  return plan;
}

/// Without clipping, thresholding and learned variances, and with a training schedule that the tables know. TCD's class
/// has the first two's options, its step does not read them.
bool is_linear(const SchedulerSpec& spec) {
  const auto variance = spec.config.value("variance_type", nlohmann::json());
  const auto betas = spec.config.value("beta_schedule", "linear");
  const bool learned = variance.is_string() && variance.get<std::string>().starts_with("learned");
  const bool clips = spec.config.value("thresholding", false) || spec.config.value("clip_sample", false);
  return !learned && betas != "laplace" && betas != "exp" && (!clips || spec.name == "tcd");
}

std::string label(const nlohmann::json& config) {
  auto shown = config;
  for (const auto* key : {"beta_start", "beta_end", "beta_schedule"}) shown.erase(key);
  return shown.dump();
}

class StepCoefficients : public testing::TestWithParam<std::string> {};

TEST_P(StepCoefficients, TimestepsAndSigmasAreDiffusers) {
  int compared = 0, refused = 0;
  const auto& golden = goldens(GetParam());
  for (const auto& entry : golden.document.at("schedules")) {
    const SchedulerSpec spec = spec_of(entry.at("config"));
    // Also what lies between two levels, and EDM's logarithms.
    bool has_grid = entry.at("config").contains("timestep_type") || spec.name.starts_with("dpm2") ||
                    spec.name == "dpmpp_sde" || spec.name.starts_with("edm");
    for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"}) {
      has_grid = has_grid || spec.config.value(key, false);
    }
    const double timestep_tolerance = has_grid ? kGridTimestepTolerance : 0;
    std::int64_t timestep_offset = 0, sigma_offset = 0;
    for (std::size_t i = 0; i < entry.at("steps").size(); ++i) {
      const int steps = entry.at("steps")[i];
      const auto where = fmt::format("{} with {} steps", label(entry.at("config")), steps);
      if (!is_linear(spec)) {
        try {
          make_step_schedule(spec, plan_of(steps, 1));
          ADD_FAILURE() << where << " was accepted";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kUsage) << where;
          EXPECT_NE(std::string(error.what()).find("unsupported"), std::string::npos) << error.what();
        }
        ++refused;
        continue;
      }
      const StepSchedule schedule = make_step_schedule(spec, plan_of(steps, 1));
      const std::int64_t entries = entry.at("entries")[i];
      const auto expected =
          golden.tensors.at(entry.at("timesteps")).narrow(0, timestep_offset, entries).to(at::kDouble);
      timestep_offset += entries;
      const auto timesteps = at::tensor(schedule.timesteps, at::kDouble).to(at::kFloat).to(at::kDouble);
      ASSERT_EQ(timesteps.sizes(), expected.sizes()) << where;
      ASSERT_TRUE(at::equal(timesteps.isnan(), expected.isnan())) << where;  // DPM2 ancestral's, by rounding
      ASSERT_LE((timesteps - expected).nan_to_num().abs().max().item<double>(), timestep_tolerance) << where;
      ++compared;
      if (!entry.contains("sigmas") || schedule.sigmas.empty()) continue;
      const std::int64_t levels = entry.at("levels")[i];
      const auto wanted = golden.tensors.at(entry.at("sigmas")).narrow(0, sigma_offset, levels).to(at::kDouble);
      sigma_offset += levels;
      const auto sigmas = at::tensor(schedule.sigmas, at::kDouble);
      ASSERT_EQ(sigmas.sizes(), wanted.sizes()) << where;
      const auto off = ((sigmas - wanted).abs() / wanted.abs().clamp_min(1e-6)).max().item<double>();
      ASSERT_LE(off, 1e-6) << where;
    }
  }
  EXPECT_GT(compared, GetParam() == "schedules" ? 2500 : 1500);
  EXPECT_GT(refused, 50);
}

INSTANTIATE_TEST_SUITE_P(Goldens, StepCoefficients, testing::Values("schedules", "samplers"),
                         [](const auto& stem) { return stem.param; });

/// The stand-in for a model that schedules.py has, word for word.
at::Tensor answer(const at::Tensor& sample, double timestep) {
  const auto x = sample.to(at::kDouble);
  const auto phase = at::arange(x.numel(), at::kDouble).reshape(x.sizes());
  return 0.5 * at::sin(0.7 * x + 0.004 * timestep + 0.9 * phase) + 0.3 * at::cos(0.2 * x - 0.5 * phase);
}

/// The sample after each row. Draws in order: x0, start noise, then the steps' own.
std::vector<at::Tensor> run_trajectory(const StepSchedule& schedule, std::uint64_t seed, bool fused) {
  NoiseSource source(seed, 1, NoiseMode::kPerImage);
  const auto draw = [&] { return source.draw(4, 1, 2); };
  const auto original = draw(), noise = draw();
  at::Tensor sample = schedule.start_sample * original + schedule.start_noise * noise;
  Features features;
  features.fused_guided_step = fused;
  Stepper stepper(schedule, features, {}, step_scalars(schedule, {}));
  std::vector<at::Tensor> out;
  for (std::size_t i = 0; i < schedule.rows.size(); ++i) {
    const auto noise_pred =
        answer(sample * schedule.input_scale[i], schedule.timesteps[schedule.first + i]).to(at::kFloat);
    const StepRow& row = schedule.rows[i];
    at::Tensor step_noise;
    if (row.draws_noise) step_noise = row.path ? source.draw_interval(*row.path, 4, 1, 2) : draw();
    sample = stepper.step(i, noise_pred, sample, step_noise, {});
    out.push_back(sample.clone());
  }
  return out;
}

class Trajectory : public testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(Trajectory, IsDiffusersInFloat64) {
  const c10::NoGradGuard no_grad;
  double largest = 0;
  std::string worst;
  int failures = 0, compared = 0;
  const auto& [stem, fused] = GetParam();
  const auto& [document, tensors] = goldens(stem);
  for (const auto& run : document.at("trajectories")) {
    const auto& config = document.at("schedules").at(run.at("schedule").get<std::size_t>()).at("config");
    const SchedulerSpec spec = spec_of(config);
    if (!is_linear(spec)) continue;  // seen to be refused above
    const auto where = fmt::format("{} steps {} strength {}", label(config), run.at("steps").get<int>(),
                                   run.at("strength").get<double>());
    const auto expected = tensors.at(run.at("tensor")).to(at::kDouble);
    const StepSchedule schedule = make_step_schedule(spec, plan_of(run.at("steps"), run.at("strength")));
    const auto samples = run_trajectory(schedule, run.at("seed"), fused);
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
    ++compared;
    ASSERT_LT(failures, 20) << "and perhaps more";
  }
  EXPECT_GT(compared, stem == "schedules" ? 1000 : 700);
  fmt::print("  {} trajectories, the worst {:.1e} of {:.1e}: {}\n", compared, largest, kTrajectoryTolerance, worst);
}

INSTANTIATE_TEST_SUITE_P(Stepper, Trajectory,
                         testing::Combine(testing::Values("schedules", "samplers"), testing::Bool()),
                         [](const auto& run) {
                           return std::get<0>(run.param) + (std::get<1>(run.param) ? "_fused" : "_plain");
                         });

}  // namespace
}  // namespace i2i
