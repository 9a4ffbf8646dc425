// i2i sweep: every cell checked, then timed, into a store that survives; then the reports.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "harness/commands/command.h"
#include "harness/commands/write_reports.h"
#include "harness/environment.h"
#include "harness/progress.h"
#include "harness/runner.h"
#include "harness/store.h"
#include "optimized/cuda/backend.h"
#include "reports/summary.h"

namespace i2i {
namespace {

struct SweepCommand {
  std::string sweep_file;
  std::string out;
  std::vector<std::string> axes;
  std::string device = "cpu";
  std::string reference_device = "cpu";
  int threads = 0;
  bool fail_fast = false;
};

std::string command_line(const SweepCommand& command) {
  std::string line = fmt::format("i2i sweep {} --out {}", command.sweep_file, command.out);
  for (const std::string& axis : command.axes) line += " --axis '" + axis + "'";
  if (command.device != "cpu") line += " --device " + command.device;
  if (command.reference_device != "cpu") line += " --reference-device " + command.reference_device;
  if (command.threads > 0) line += fmt::format(" --threads {}", command.threads);
  return line;
}

std::string device_text(const std::string& device) {
  return device == "cpu" ? device : fmt::format("{} ({})", device, cuda_backend(device).name());
}

std::string outcome(const CellRow& row) {
  std::string text = row.verdict;
  if (!row.reason.empty()) text += " (" + row.reason + ")";
  if (row.speedup)
    text += fmt::format(", {:.2f} times as fast [{:.2f}, {:.2f}]", row.speedup->median, row.speedup->low,
                        row.speedup->high);
  return text;
}

void measure_missing_promises(const Sweep& sweep, const PromiseSettings& settings, Runner& runner, Store& store) {
  const std::string model = sweep.document.value("model", "scenes");
  Pipeline& reference = runner.pipeline("reference", model, "fp32", "");
  const SchedulerSpec scheduler = resolve_scheduler(sweep.document.value("scheduler", ""), runner.model(model).config);
  std::vector<PromiseRow> rows = store.promises();
  StatusLine status;
  measure_promises(
      reference, scheduler, settings, rows, [&](const std::string& now) { status.show(now); },
      [&](const std::vector<PromiseRow>& so_far) { store.save_promises(so_far); });
}

int execute(const SweepCommand& command) {
  RunOptions options;
  options.threads = command.threads;
  options.apply_threads();
  const Sweep sweep = load_sweep(command.sweep_file, command.axes);
  Store store(command.out, Store::Mode::kCreateOrResume);
  auto machine = environment();
  machine.insert(machine.begin() + 1, {{"model", sweep.document.value("model", "scenes")},
                                       {"device", device_text(command.device)},
                                       {"reference's device", command.reference_device},
                                       {"dtype", fmt::format("{} against {}", sweep.document.value("dtype", "fp32"),
                                                             sweep.document.value("reference_dtype", "fp32"))}});
  store.begin(sweep, machine, command_line(command));
  const auto finished = store.finished();
  if (!finished.empty())
    fmt::print(stderr, "{} of {} cells are finished already\n", finished.size(), sweep.cells.size());
  Runner runner(command.device, NoiseMode::kPerImage, {"", sweep.document.value("model_config", "")},
                command.reference_device);
  Progress progress(static_cast<int>(sweep.cells.size()), static_cast<int>(finished.size()));
  for (const Cell& cell : sweep.cells) {
    if (finished.contains(cell.key)) continue;
    progress.begin_cell(cell.key);
    const CellRow row = runner.run(sweep, cell);
    store.save(cell.key, row);
    progress.end_cell(cell.key, outcome(row));
    if (command.fail_fast && row.verdict == "failed") break;
  }
  progress.finish();
  if (sweep.promises) measure_missing_promises(sweep, *sweep.promises, runner, store);

  const Report report = store.report();
  write_reports(report, command.out, {"html", "json", "csv", "md", "junit"});
  const Summary summary = summarize(report);
  fmt::print("{}", summary_text(summary));
  fmt::print("report: {}\n",
             std::filesystem::absolute(std::filesystem::path(command.out) / "report.html").lexically_normal().string());
  const bool failed = std::ranges::any_of(report.cells, [](const CellRow& row) { return row.verdict == "failed"; }) ||
                      std::ranges::any_of(report.promises, [](const PromiseRow& row) { return !row.holds; });
  return failed ? kRegression : kPass;
}

}  // namespace

void add_sweep(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<SweepCommand>();
  CLI::App* sweep = app.add_subcommand("sweep", "run both implementations over a sweep; resumes by itself");
  sweep->add_option("SWEEP.json", command->sweep_file, "the sweep (datasets/sweeps has some)")->required();
  sweep->add_option("--out", command->out, "folder for the results and reports")->required();
  sweep->add_option("-a,--axis", command->axes, "name=v1,v2: replaces or adds one axis");
  sweep->add_option("--device", command->device, "of the optimized implementation: cpu, cuda or cuda-emulated")
      ->capture_default_str();
  sweep->add_option("--reference-device", command->reference_device, "of the reference: cpu, or cuda (eager libtorch)")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  sweep->add_option("--threads", command->threads, "threads to compute with; 0 leaves it to libtorch");
  sweep->add_flag("--fail-fast", command->fail_fast, "stop at the first failed cell");
  sweep->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
