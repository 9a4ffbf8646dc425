// i2i promises: measures what the action promises on the embedded model, and writes a report of it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "harness/commands/command.h"
#include "harness/commands/write_reports.h"
#include "harness/environment.h"
#include "harness/implementations.h"
#include "harness/progress.h"
#include "harness/promises.h"
#include "harness/runner.h"

namespace i2i {
namespace {

struct PromisesCommand {
  RunOptions options;
  std::string implementation = "reference";
  std::string out;
  int seeds = PromiseSettings().cases, steps = PromiseSettings().steps;
};

int execute(const PromisesCommand& command) {
  command.options.apply_threads();
  Runner runner(command.options.device, NoiseMode::kPerImage, command.options.model_source());
  Pipeline& pipeline = runner.pipeline(command.implementation, command.options.model, command.options.dtype,
                                       command.options.all_features());
  const SchedulerSpec scheduler =
      resolve_scheduler(command.options.scheduler, runner.model(command.options.model).config);
  std::vector<PromiseRow> rows;
  {
    StatusLine status;
    measure_promises(
        pipeline, scheduler, {command.seeds, command.steps, parse_features(command.options.all_features()).savings},
        rows, [&](const std::string& now) { status.show(now); }, [](const std::vector<PromiseRow>&) {});
  }
  for (const PromiseRow& row : rows) {
    fmt::print("{} {}\n    {}, expected: {}\n   ", row.holds ? "holds " : "BROKEN", row.promise, row.quantity,
               row.expectation);
    for (std::size_t i = 0; i < row.values.size(); ++i)
      fmt::print(" {}: {:.3f}", row.values[i], row.measured[i].median);
    fmt::print("\n");
  }
  if (!command.out.empty()) {
    Report report;
    report.title = fmt::format("what the action promises, on {} ({} cases)", command.options.model, command.seeds);
    report.command = fmt::format("i2i promises --model {} --impl {} --seeds {} --steps {}", command.options.model,
                                 command.implementation, command.seeds, command.steps);
    report.environment = environment();
    report.promises = rows;
    std::filesystem::create_directories(command.out);
    for (const std::string& path : write_reports(report, command.out, {"html", "json", "md"})) fmt::print("{}\n", path);
  }
  return std::all_of(rows.begin(), rows.end(), [](const PromiseRow& row) { return row.holds; }) ? kPass : kRegression;
}

}  // namespace

void add_promises(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<PromisesCommand>();
  CLI::App* promises = app.add_subcommand("promises", "measure what the action promises, on the embedded model");
  promises->add_option("--impl", command->implementation, "reference or optimized")->capture_default_str();
  promises->add_option("--seeds", command->seeds, "cases, each with its own source and seed")->capture_default_str();
  promises->add_option("--steps", command->steps, "steps where they are not what is varied")->capture_default_str();
  promises->add_option("--out", command->out, "folder for a report");
  command->options.add_to(*promises);
  promises->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
