#include "harness/commands/parity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "harness/environment.h"
#include "harness/goldens.h"
#include "harness/implementations.h"
#include "reports/parity.h"
#include "reports/text.h"

namespace i2i {
namespace {

std::string request_text(const golden::Case& one) {
  const Request& request = one.request;
  std::string text = fmt::format("{} x {}, {} steps, strength {}, guidance {}", request.width, request.height,
                                 request.steps, request.strength, request.guidance_scale);
  if (one.family.ends_with("ip2p")) text += fmt::format(", image guidance {}", request.image_guidance_scale);
  if (one.guidance_rescale != 0) text += fmt::format(", rescaled {}", one.guidance_rescale);
  for (const LoraFile& lora : one.loras)
    text += fmt::format(", {} at {}", std::filesystem::path(lora.path).stem().string(), lora.weight);
  if (request.batch_size > 1) text += fmt::format(", batch {}", request.batch_size);
  return text;
}

ParityRow row_of(const golden::Case& one, const golden::Outcome& outcome) {
  ParityRow row{one.family, one.name, one.scheduler, request_text(one), outcome.first_failed() == nullptr, {}, {}};
  for (const golden::Finding& worst : outcome.worst_of_stages())
    row.stages.push_back(
        {worst.stage, worst.step, worst.index, worst.distance, worst.allowed, worst.used(), worst.problem});
  for (const golden::Finding& finding : outcome.findings) {
    if (finding.stage == "loop.latents_out" && finding.step >= 0) row.drift.push_back(finding.used());
  }
  return row;
}

void print_row(const ParityRow& row, const golden::Outcome& outcome) {
  const golden::Finding* first = outcome.first_failed();
  const auto worst = std::max_element(row.stages.begin(), row.stages.end(),
                                      [](const ParityStage& a, const ParityStage& b) { return a.used < b.used; });
  fmt::print(
      "{} {:<13} {:<34} {}\n", row.passed ? "passed" : "FAILED", row.family, row.name,
      first != nullptr
          ? fmt::format("first off at {}: {}", first->where(),
                        first->problem.empty() ? fmt::format("{:.2e} away at [{}], {:.1e} allowed", first->distance,
                                                             fmt::join(first->index, ","), first->allowed)
                                               : first->problem)
          : fmt::format("{} of the tolerance used at most, in {}", percent_text(worst->used), worst->stage));
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path.string() + ".new", std::ios::binary) << text;
  std::filesystem::rename(path.string() + ".new", path);
}

}  // namespace

int check_against_goldens(const std::string& folder, const std::string& implementation, const RunOptions& options,
                          const std::string& out) {
  options.apply_threads();
  const std::string where = folder == "goldens" ? golden::default_folder() : folder + "/";
  const std::vector<golden::Case> cases = golden::read_cases(where);
  const golden::Tolerances tolerances = golden::derive_tolerances(cases);
  PipelineOptions pipeline_options;
  pipeline_options.device = options.device;
  pipeline_options.dtype = parse_dtype(options.dtype);
  if (implementation != implementation_names().front()) {
    const FeatureChoice choice = parse_features(options.all_features());
    if (choice.lossy()) {
      throw Error(ErrorCode::kUsage, fmt::format("goldens hold exact features only, not {}", options.all_features()));
    }
    pipeline_options.features = choice.switches;
  }
  const bool is_reference = implementation == implementation_names().front();

  ParityReport report;
  report.implementation = implementation;
  report.command = fmt::format("i2i check --against {} --impl {} --out {}", folder, implementation, out);
  report.environment = environment();
  const golden::Case* loaded = nullptr;  // whose model it is
  std::shared_ptr<const Model> model;
  std::unique_ptr<Pipeline> pipeline;
  for (const golden::Case& one : cases) {
    if (loaded == nullptr || one.model_folder != loaded->model_folder || one.loras != loaded->loras) {
      model = golden::load_model_of(one);
      pipeline = make_pipeline(implementation, model, pipeline_options);
      loaded = &one;
    }
    const golden::Outcome outcome = golden::run_case(one, *model, *pipeline, tolerances,
                                                     is_reference ? golden::Stages::kAll : golden::Stages::kTraced);
    report.rows.push_back(row_of(one, outcome));
    print_row(report.rows.back(), outcome);
  }
  const auto passed =
      std::count_if(report.rows.begin(), report.rows.end(), [](const ParityRow& row) { return row.passed; });
  std::filesystem::create_directories(out);
  const std::filesystem::path directory = std::filesystem::absolute(out);
  write(directory / "parity.json", to_json(report).dump(1) + "\n");
  write(directory / "parity.html", parity_page(report));
  fmt::print("{} of {} cases are diffusers'\nreport: {}\n", passed, report.rows.size(),
             (directory / "parity.html").lexically_normal().string());
  return passed == static_cast<std::ptrdiff_t>(report.rows.size()) ? kPass : kRegression;
}

}  // namespace i2i
