// i2i bounds: what a GPU must take at least for a model, by arithmetic; no weights, no GPU.
#include <fmt/format.h>

#include "harness/bounds.h"
#include "harness/commands/command.h"
#include "harness/commands/formats.h"
#include "interface/model_files.h"
#include "interface/synthetic_model.h"

namespace i2i {
namespace {

struct BoundsCommand {
  std::string model = "synthetic:sdxl";
  BoundOptions options;
  std::string out;
  std::vector<std::string> formats = {"html"};
};

constexpr Formats<BoundsReport> kFormats = {
    {{"html", "bounds.html", bounds_page}, {"md", "bounds.md", bounds_markdown}, {"json", "bounds.json", bounds_json}}};

/// A synthetic model's configuration without its gigabytes of weights.
ModelConfig config_of(const std::string& model) {
  for (const SyntheticModel& synthetic : synthetic_models()) {
    if (synthetic.name != model) continue;
    ModelConfig config = synthetic.config();
    config.name = model;
    return config;
  }
  ModelConfig config = load_model(model)->config;
  config.name = model;
  return config;
}

int execute(const BoundsCommand& command) {
  for (const std::int64_t side : {command.options.width, command.options.height}) {
    if (side < 0) throw Error(ErrorCode::kUsage, fmt::format("a side of {} pixels is below the minimum 0", side));
  }
  if (command.options.images < 1)
    throw Error(ErrorCode::kUsage, fmt::format("--images {} is below the minimum 1", command.options.images));
  for (const std::string& name : command.formats) format_of(kFormats, name, "bounds");
  const BoundsReport report = bounds_report(config_of(command.model), command.options);
  if (command.out.empty()) {
    for (const std::string& name : command.formats)
      fmt::print("{}", name == "html" ? bounds_markdown(report) : format_of(kFormats, name, "bounds").write(report));
    return kPass;
  }
  write_formats(kFormats, command.formats, "bounds", report, command.out);
  return kPass;
}

}  // namespace

void add_bounds(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<BoundsCommand>();
  CLI::App* bounds = app.add_subcommand("bounds", "lower bounds of a model's time on GPUs, by arithmetic");
  bounds->add_option("--model", command->model, "a name (i2i models) or a folder in diffusers layout")
      ->capture_default_str();
  bounds->add_option("--width", command->options.width, "pixels; 0 for the model's own size")->capture_default_str();
  bounds->add_option("--height", command->options.height, "pixels; 0 for the model's own size")->capture_default_str();
  bounds->add_option("--images", command->options.images, "pictures at a time")->capture_default_str();
  bounds->add_flag("--plain", command->options.plain, "as diffusers runs it, without our cached and folded work");
  bounds->add_option("--format", command->formats, "html, md, json")->delimiter(',')->capture_default_str();
  bounds->add_option("--out", command->out, "folder for bounds.html and the like; without it, Markdown is printed");
  bounds->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
