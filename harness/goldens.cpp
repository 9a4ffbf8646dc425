#include "harness/goldens.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "interface/error.h"
#include "interface/scheduler_spec.h"
#include "interface/source_image.h"

namespace i2i::golden {
namespace {

const std::vector<std::string> kFamilies = {"sd15",      "sd21-v",   "sdxl",      "sdxl-refiner", "ip2p",
                                            "sdxl-ip2p", "sd15-lcm", "sd15-lora", "sdxl-lora"};
const std::vector<std::string> kBeforeLoop = {
    "source.pixels", "text.ids.0", "text.ids.1", "text.embeds",        "text.pooled",     "vae.mean",
    "vae.logvar",    "draw.00",    "draw.01",    "schedule.timesteps", "schedule.sigmas", "schedule.timesteps_run"};
const std::vector<std::string> kInLoop = {"loop.latents_in", "loop.unet_in", "loop.unet_out", "loop.guided",
                                          "loop.latents_out"};

void read_family(const std::string& folder, const std::string& family, std::vector<Case>& cases) {
  const auto document = read_json(folder + family + ".json");
  const auto tensors = read_safetensors(folder + family + ".safetensors");
  for (const auto& entry : document.at("cases")) {
    Case one;
    one.family = family;
    one.name = entry.at("name");
    one.model_folder = folder + document.at("model").get<std::string>();
    for (const auto& lora : entry.value("loras", nlohmann::json::array()))
      one.loras.push_back({folder + lora.at("file").get<std::string>(), lora.at("weight")});
    one.scheduler = entry.at("scheduler");
    if (entry.contains("options")) one.guidance_rescale = entry.at("options").value("guidance_rescale", 0.0);
    auto request = entry.at("request");
    request["source_image"] = folder + request.at("source_image").get<std::string>();
    one.request = parse_request(request);
    for (const auto& [stage, stored] : entry.at("stages").items()) {
      one.stages[stage] = {tensors.at(stored.at("tensor")), stored.value("steps", std::vector<int>{}),
                           stored.at("largest"), stored.at("float64_distance")};
    }
    cases.push_back(std::move(one));
  }
}

Finding compare(const std::string& stage, int step, const at::Tensor& expected, const at::Tensor& actual,
                double allowed) {
  Finding finding{stage, step, {}, 0, allowed, {}};
  if (expected.sizes() != actual.sizes()) {
    finding.problem =
        fmt::format("shape [{}] instead of [{}]", fmt::join(actual.sizes(), ","), fmt::join(expected.sizes(), ","));
    return finding;
  }
  const at::Tensor difference = (expected.to(at::kDouble) - actual.to(at::kDouble)).abs();
  auto place = difference.argmax().item<std::int64_t>();
  finding.distance = difference.max().item<double>();  // NaN where there is one: then it fails
  finding.index.resize(static_cast<std::size_t>(difference.dim()));
  for (std::size_t axis = finding.index.size(); axis-- > 0;) {
    const std::int64_t side = difference.size(static_cast<std::int64_t>(axis));
    finding.index[axis] = place % side;
    place /= side;
  }
  return finding;
}

double allowed_for(const Case& one, const std::string& name, const Tolerances& tolerances) {
  const Stage& stage = one.stages.at(name);
  // Fractions of Karras' levels come from float32 logarithms, whose last bit numpy and libm do not share: one unit in
  // the last place of the largest. DPM2's middles are fractions too, though they may round to whole numbers.
  if (name.starts_with("schedule.timesteps") &&
      (one.scheduler.starts_with("dpm2") || stage.value.frac().any().item<bool>())) {
    return static_cast<double>(std::numeric_limits<float>::epsilon()) * stage.largest;
  }
  return tolerances.at({one.family, name}) * std::max(1.0, stage.largest);
}

/// In pipeline order.
std::vector<Finding> compare_stages(const Case& one, const Collector& trace, const at::Tensor& images,
                                    const Tolerances& tolerances, Stages stages) {
  std::vector<Finding> findings;
  const auto traced = [&](const std::string& name) -> const std::vector<at::Tensor>* {
    const auto found = trace.stages().find(name);
    if (found != trace.stages().end()) return &found->second;
    // InstructPix2Pix takes the mean of the posterior: its width is in the goldens but nobody has to compute it.
    const bool unused = name == "vae.logvar" && one.family.ends_with("ip2p") && one.request.strength == 1;
    if (stages == Stages::kAll && !unused) findings.push_back({name, -1, {}, 0, 0, "was not traced"});
    return nullptr;
  };
  const auto compare_once = [&](const std::string& name) {
    const auto stage = one.stages.find(name);
    if (stage == one.stages.end()) return;
    if (const auto* values = traced(name); values != nullptr)
      findings.push_back(compare(name, -1, stage->second.value, values->front(), allowed_for(one, name, tolerances)));
  };

  for (const auto& name : kBeforeLoop) compare_once(name);
  const auto evaluations = static_cast<std::size_t>(one.stages.at("loop.latents_out").value.size(0));
  for (const auto& name : kInLoop) {
    const auto* values = traced(name);
    if (values != nullptr && values->size() != evaluations)
      findings.push_back({name, -1, {}, 0, 0, fmt::format("{} steps instead of {}", values->size(), evaluations)});
  }
  for (std::size_t step = 0; step < evaluations; ++step) {
    for (const auto& name : kInLoop) {
      const Stage& stage = one.stages.at(name);
      auto row = static_cast<std::int64_t>(step);
      if (!stage.steps.empty()) {
        const auto stored = std::find(stage.steps.begin(), stage.steps.end(), static_cast<int>(step));
        if (stored == stage.steps.end()) continue;
        row = stored - stage.steps.begin();
      }
      const auto found = trace.stages().find(name);
      if (found == trace.stages().end() || step >= found->second.size()) continue;
      findings.push_back(compare(name, static_cast<int>(step), stage.value[row], found->second[step],
                                 allowed_for(one, name, tolerances)));
    }
  }
  for (const auto& [name, stage] : one.stages) {  // a stochastic scheduler's draws
    if (name.starts_with("draw.") && name > "draw.01") compare_once(name);
  }
  compare_once("vae.latents_unscaled");
  findings.push_back(
      compare("images", -1, one.stages.at("images").value, images, allowed_for(one, "images", tolerances)));
  return findings;
}

}  // namespace

std::string default_folder() {
  const char* chosen = std::getenv("I2I_DATASETS");
  return (chosen != nullptr && *chosen != '\0' ? std::string(chosen) : std::string(I2I_SOURCE_DIR) + "/datasets") +
         "/goldens/";
}

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kGenerationFailed, path + ": cannot be opened");
  return nlohmann::json::parse(file);
}

std::shared_ptr<const Model> load_model_of(const Case& one) {
  return with_loras(load_model(one.model_folder), one.loras);
}

std::vector<Case> read_cases(const std::string& folder) {
  std::vector<Case> cases;
  for (const auto& family : kFamilies) read_family(folder, family, cases);
  return cases;
}

Tolerances derive_tolerances(const std::vector<Case>& cases) {
  Tolerances tolerances;
  for (const auto& one : cases) {
    for (const auto& [name, stage] : one.stages) {
      double& most = tolerances[{one.family, name}];
      most = std::max(most, kTimesFloat64Distance * stage.float64_distance / std::max(1.0, stage.largest));
    }
  }
  return tolerances;
}

void Collector::tensor(std::string_view name, int step, const at::Tensor& value) {
  auto& values = stages_[std::string(name)];
  if (step >= 0 && static_cast<std::size_t>(step) != values.size()) out_of_order_.emplace_back(name);
  values.push_back(value.detach().to(at::kCPU).clone());
}

double Finding::used() const {
  if (!problem.empty()) return std::numeric_limits<double>::infinity();
  if (distance == 0) return 0;
  return distance / allowed;  // infinite where nothing is allowed
}

std::string Finding::where() const { return step < 0 ? stage : fmt::format("{} at step {}", stage, step); }

const Finding* Outcome::first_failed() const {
  const auto first = std::find_if(findings.begin(), findings.end(), [](const Finding& f) { return f.failed(); });
  return first == findings.end() ? nullptr : &*first;
}

std::vector<Finding> Outcome::worst_of_stages() const {
  std::vector<Finding> worst;
  for (const Finding& finding : findings) {
    const auto same =
        std::find_if(worst.begin(), worst.end(), [&](const Finding& w) { return w.stage == finding.stage; });
    if (same == worst.end()) {
      worst.push_back(finding);
    } else if (!(finding.used() <= same->used())) {
      *same = finding;
    }
  }
  return worst;
}

Outcome run_case(const Case& one, const Model& model, Pipeline& pipeline, const Tolerances& tolerances, Stages stages) {
  Collector trace;
  GenerateOptions options;
  options.scheduler = resolve_scheduler(one.scheduler, model.config);
  options.trace = &trace;
  options.guidance_rescale = one.guidance_rescale;
  const auto result = pipeline.generate(one.request, load_source_image(one.request.source_image), options);
  return {compare_stages(one, trace, result.images, tolerances, stages), trace.out_of_order()};
}

}  // namespace i2i::golden
