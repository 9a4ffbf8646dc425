// i2i models, schedulers, datasets, features, schema, doctor: what there is.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "harness/commands/command.h"
#include "harness/environment.h"
#include "harness/presets.h"
#include "interface/model_files.h"
#include "optimized/features.h"
#include "optimized/step_plan.h"

namespace i2i {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

void print_rows(const Rows& rows, bool as_json) {
  if (as_json) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const auto& [name, text] : rows) object[name] = text;
    fmt::print("{}\n", object.dump(2));
    return;
  }
  for (const auto& [name, text] : rows) fmt::print("{:<34} {}\n", name, text);
}

Rows scheduler_rows() {
  Rows rows;
  for (const SchedulerDescription& scheduler : known_schedulers()) {
    rows.emplace_back(scheduler.name,
                      fmt::format("{}; also {}", scheduler.class_name, fmt::join(scheduler.aliases, ", ")));
  }
  return rows;
}

Rows feature_rows() {
  Rows rows;
  for (const FeatureDescription& feature : known_features()) {
    rows.emplace_back(feature.name, fmt::format("{}: {}",
                                                feature.by_default ? "exact, on"
                                                : feature.exact    ? "exact, off unless asked for"
                                                                   : "lossy, off unless asked for",
                                                feature.sentence));
  }
  for (const StepFeature& feature : step_features()) {
    rows.emplace_back(fmt::format("{}={}", feature.name, feature.form),
                      fmt::format("lossy, off unless asked for: {} ({} where no value is given)", feature.sentence,
                                  feature.standard));
  }
  for (const Preset& preset : presets()) {
    rows.emplace_back("--preset " + preset.name,
                      fmt::format("LPIPS at most {} against the reference: {}", preset.lpips_bound,
                                  preset.features.empty() ? "exact features only" : preset.features));
  }
  return rows;
}

Rows dataset_rows() {
  Rows rows;
  const std::filesystem::path root = std::filesystem::path(I2I_SOURCE_DIR) / "datasets";
  for (const char* kind : {"requests", "sweeps", "sources"}) {
    if (!std::filesystem::exists(root / kind)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(root / kind)) {
      rows.emplace_back(fmt::format("{}/{}", kind, entry.path().filename().string()), entry.path().string());
    }
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

int print_doctor(bool as_json) {
  Rows rows = environment();
  for (const Finding& finding : examine_machine())
    rows.emplace_back(finding.what, (finding.present ? "yes: " : "no: ") + finding.detail);
  print_rows(rows, as_json);
  return kPass;
}

void add_list(CLI::App& app, int& exit_code, const std::string& name, const std::string& description, Rows (*rows)()) {
  CLI::App* command = app.add_subcommand(name, description);
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "print JSON");
  command->callback([as_json, rows, &exit_code] {
    print_rows(rows(), *as_json);
    exit_code = kPass;
  });
}

}  // namespace

void add_lists(CLI::App& app, int& exit_code) {
  add_list(app, exit_code, "models", "models known by name", [] { return named_models(); });
  add_list(app, exit_code, "schedulers", "schedulers, with diffusers' class and other names", scheduler_rows);
  add_list(app, exit_code, "features",
           "optimisations that can be switched: exact ones, on by default, and lossy ones, off", feature_rows);
  add_list(app, exit_code, "datasets", "requests, sweeps and source pictures that come with i2i", dataset_rows);
  app.add_subcommand("schema", "the action's JSON schema")->callback([&exit_code] {
    fmt::print("{}", image_to_image_schema_text());
    exit_code = kPass;
  });
  CLI::App* doctor = app.add_subcommand("doctor", "this machine: what there is and what is missing");
  auto as_json = std::make_shared<bool>(false);
  doctor->add_flag("--json", *as_json, "print JSON");
  doctor->callback([as_json, &exit_code] { exit_code = print_doctor(*as_json); });
}

}  // namespace i2i
