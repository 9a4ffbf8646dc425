// Runs a pipeline on every case of the goldens and compares each stage in pipeline order, so that a failure names the
// first stage that is off. Shared by the tests of both implementations; only tests include this.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "interface/scheduler_spec.h"
#include "interface/source_image.h"
#include "tests/golden.h"

namespace i2i::golden {

inline const std::vector<std::string> kFamilies = {"sd15", "sd21-v",    "sdxl",    "sdxl-refiner",
                                                   "ip2p", "sdxl-ip2p", "sd15-lcm"};
inline const std::vector<std::string> kBeforeLoop = {
    "source.pixels", "text.ids.0", "text.ids.1", "text.embeds",        "text.pooled",     "vae.mean",
    "vae.logvar",    "draw.00",    "draw.01",    "schedule.timesteps", "schedule.sigmas", "schedule.timesteps_run"};
inline const std::vector<std::string> kInLoop = {"loop.latents_in", "loop.unet_in", "loop.unet_out", "loop.guided",
                                                 "loop.latents_out"};

inline const std::vector<Case>& all_cases() {
  static const auto cases = [] {
    std::vector<Case> all;
    for (const auto& family : kFamilies) {
      for (auto& one : read_cases(family)) all.push_back(std::move(one));
    }
    return all;
  }();
  return cases;
}

/// A stage may be this many times as far from diffusers' float32 as that is from its own float64.
constexpr double kTimesFloat64Distance = 4;

/// Tolerance of a stage relative to its largest magnitude (or 1). Taken over all cases of a family, since one case's
/// rounding errors may cancel by luck. No tolerance is chosen by hand.
inline double relative_tolerance(const std::string& family, const std::string& stage) {
  static const auto table = [] {
    std::map<std::pair<std::string, std::string>, double> all;
    for (const auto& one : all_cases()) {
      for (const auto& [name, stored] : one.stages) {
        double& most = all[{one.family, name}];
        most = std::max(most, kTimesFloat64Distance * stored.float64_distance / std::max(1.0, stored.largest));
      }
    }
    return all;
  }();
  return table.at({family, stage});
}

/// kAll: a stage that is not handed out is a failure. kTraced: what is handed out is compared, the pictures always.
enum class Stages { kAll, kTraced };

/// One comparison: how far one tensor is off, as a share of what is allowed.
struct Finding {
  std::string where;
  double distance = 0;
  double allowed = 0;
  std::string problem;  ///< not empty: cannot be compared at all
  bool failed() const { return !problem.empty() || !(distance <= allowed); }
};

inline Finding compare(const std::string& where, const at::Tensor& expected, const at::Tensor& actual, double allowed) {
  if (expected.sizes() != actual.sizes()) {
    return {where, 0, 0,
            fmt::format("shape {} instead of {}", fmt::streamed(actual.sizes()), fmt::streamed(expected.sizes()))};
  }
  const auto distance = (expected.to(at::kDouble) - actual.to(at::kDouble)).abs().max().item<double>();
  return {where, distance, allowed, {}};
}

/// Compares in pipeline order.
inline std::vector<Finding> compare_stages(const Case& one, const Collector& trace, const at::Tensor& images,
                                           Stages stages) {
  std::vector<Finding> findings;
  const auto allowed_for = [&](const std::string& name, const Stage& stage) {
    // Fractions of Karras' levels come from float32 logarithms, whose last bit numpy and libm do not share: one unit
    // in the last place of the largest. DPM2's middles are fractions too, though they may round to whole numbers.
    if (name.starts_with("schedule.timesteps") &&
        (one.scheduler.starts_with("dpm2") || stage.value.frac().any().item<bool>())) {
      return static_cast<double>(std::numeric_limits<float>::epsilon()) * stage.largest;
    }
    return relative_tolerance(one.family, name) * std::max(1.0, stage.largest);
  };
  const auto traced = [&](const std::string& name) -> const std::vector<at::Tensor>* {
    const auto found = trace.stages().find(name);
    if (found != trace.stages().end()) return &found->second;
    // InstructPix2Pix takes the mean of the posterior: its width is in the goldens but nobody has to compute it.
    const bool unused = name == "vae.logvar" && one.family.ends_with("ip2p") && one.request.strength == 1;
    if (stages == Stages::kAll && !unused) findings.push_back({name, 0, 0, "was not traced"});
    return nullptr;
  };
  const auto compare_once = [&](const std::string& name) {
    const auto stage = one.stages.find(name);
    if (stage == one.stages.end()) return;
    const auto* values = traced(name);
    if (values != nullptr)
      findings.push_back(compare(name, stage->second.value, values->front(), allowed_for(name, stage->second)));
  };

  for (const auto& name : kBeforeLoop) compare_once(name);
  const auto evaluations = static_cast<std::size_t>(one.stages.at("loop.latents_out").value.size(0));
  for (const auto& name : kInLoop) {
    const auto* values = traced(name);
    if (values != nullptr && values->size() != evaluations) {
      findings.push_back({name, 0, 0, fmt::format("{} steps instead of {}", values->size(), evaluations)});
    }
  }
  for (std::size_t step = 0; step < evaluations; ++step) {
    for (const auto& name : kInLoop) {
      const auto& stage = one.stages.at(name);
      auto row = static_cast<std::int64_t>(step);
      if (!stage.steps.empty()) {
        const auto stored = std::find(stage.steps.begin(), stage.steps.end(), static_cast<int>(step));
        if (stored == stage.steps.end()) continue;
        row = stored - stage.steps.begin();
      }
      const auto found = trace.stages().find(name);
      if (found == trace.stages().end() || step >= found->second.size()) continue;
      findings.push_back(compare(fmt::format("{} at step {}", name, step), stage.value[row], found->second[step],
                                 allowed_for(name, stage)));
    }
  }
  for (const auto& [name, stage] : one.stages) {  // a stochastic scheduler's draws
    if (name.starts_with("draw.") && name > "draw.01") compare_once(name);
  }
  compare_once("vae.latents_unscaled");
  const Stage& pictures = one.stages.at("images");
  findings.push_back(compare("images", pictures.value, images, allowed_for("images", pictures)));
  return findings;
}

/// Prints the worst step of every stage and fails with the first stage that is off.
inline void judge(const Case& one, const std::vector<Finding>& findings) {
  std::vector<const Finding*> worst;
  for (const auto& finding : findings) {
    const auto stage_of = [](const Finding& f) { return f.where.substr(0, f.where.find(' ')); };
    const auto same =
        std::find_if(worst.begin(), worst.end(), [&](const Finding* w) { return stage_of(*w) == stage_of(finding); });
    if (same == worst.end()) {
      worst.push_back(&finding);
    } else if ((finding.failed() && !(*same)->failed()) || finding.distance > (*same)->distance) {
      *same = &finding;
    }
  }
  for (const auto* finding : worst) {
    fmt::print("  {:<32} {}\n", finding->where,
               finding->problem.empty() ? fmt::format("{:.2e} of {:.1e}", finding->distance, finding->allowed)
                                        : finding->problem);
  }
  const auto first = std::find_if(findings.begin(), findings.end(), [](const Finding& f) { return f.failed(); });
  if (first != findings.end()) {
    ADD_FAILURE() << one.family << " " << one.name << ": first off at " << first->where << ": "
                  << (first->problem.empty()
                          ? fmt::format("{:.3e} away, {:.1e} allowed", first->distance, first->allowed)
                          : first->problem);
  }
}

using MakePipeline = std::function<std::unique_ptr<Pipeline>(std::shared_ptr<const Model>)>;

inline void run_case(const Case& one, const MakePipeline& make_pipeline, int threads, Stages stages) {
  at::set_num_threads(threads);
  const auto model = load_model(one.model_folder);
  const auto pipeline = make_pipeline(model);
  Collector trace;
  GenerateOptions options;
  options.scheduler = resolve_scheduler(one.scheduler, model->config);
  options.trace = &trace;
  options.guidance_rescale = one.guidance_rescale;
  const auto result = pipeline->generate(one.request, load_source_image(one.request.source_image), options);
  EXPECT_EQ(trace.out_of_order(), std::vector<std::string>{});
  judge(one, compare_stages(one, trace, result.images, stages));
}

/// Index into all_cases, and threads: the goldens were made with one, and sums in another order must hold too.
using Parameter = std::tuple<std::size_t, int>;
inline auto every_case() {
  return testing::Combine(testing::Range(std::size_t{0}, all_cases().size()), testing::Values(1, 2));
}

/// A test's name: family, case and threads.
inline std::string case_name(const testing::TestParamInfo<Parameter>& info) {
  const auto& one = all_cases()[std::get<0>(info.param)];
  auto name = fmt::format("{}_{}_{}_threads", one.family, one.name, std::get<1>(info.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace i2i::golden
