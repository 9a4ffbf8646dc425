// i2i check: reference against optimized on one request, step-locked and free-running, stage by stage; or, with
// --against, one implementation against diffusers' stored numbers.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "harness/commands/command.h"
#include "harness/commands/parity.h"
#include "harness/compare.h"
#include "harness/implementations.h"
#include "harness/presets.h"
#include "harness/runner.h"

namespace i2i {
namespace {

struct CheckCommand {
  RunOptions options;
  std::string request_file;
  std::string against;  ///< a goldens folder: then there is no request
  std::string implementation = "reference";
  std::string reference_device = "cpu", reference_dtype = "fp32";
  std::string out = "out/parity";
  double tolerance = 0;  ///< 0: by precision
  bool json = false;
};

nlohmann::json to_json(const std::vector<StageDifference>& rows) {
  nlohmann::json array = nlohmann::json::array();
  for (const StageDifference& row : rows) {
    array.push_back({{"name", row.name},
                     {"max_abs", row.max_abs},
                     {"largest", row.largest},
                     {"bound", row.bound},
                     {"worst_step", row.worst_step},
                     {"worst_index", row.worst_index},
                     {"passed", row.passed},
                     {"problem", row.problem}});
  }
  return array;
}

// The first stage, in the pipeline's order, that is out of bounds is the one to look at.
void print_table(const char* title, const std::vector<StageDifference>& rows) {
  fmt::print("{}\n  {:<24} {:>12} {:>12} {:>8}  {}\n", title, "stage", "max |diff|", "largest", "budget", "where");
  for (const StageDifference& row : rows) {
    const double used = row.max_abs / (row.bound * std::max(1.0, row.largest));
    const std::string where = row.worst_step >= 0
                                  ? fmt::format("step {} at [{}]", row.worst_step, fmt::join(row.worst_index, ","))
                                  : fmt::format("at [{}]", fmt::join(row.worst_index, ","));
    fmt::print("  {:<24} {:>12.3e} {:>12.3e} {:>7.1f}%  {}{}\n", row.name, row.max_abs, row.largest, 100 * used,
               row.problem.empty() ? where : row.problem, row.passed ? "" : "   FAILED");
  }
}

bool all_passed(const std::vector<StageDifference>& rows) {
  return std::all_of(rows.begin(), rows.end(), [](const StageDifference& row) { return row.passed; });
}

int execute(const CheckCommand& command) {
  command.options.apply_threads();
  Request request = parse_request(read_text(command.request_file));
  request.source_image = resolve_source(request.source_image, command.request_file);
  if (!request.seed) request.seed = 0;
  Runner runner(command.options.device, command.options.noise_mode(), command.options.model_source(),
                command.reference_device);
  const RunOptions& options = command.options;
  const Image& source = runner.source(request.source_image);
  const auto loras = options.loras();
  Pipeline& reference = runner.pipeline("reference", options.model, command.reference_dtype, "", loras);
  Pipeline& optimized = runner.pipeline("optimized", options.model, options.dtype, options.all_features(), loras);
  const bool lossy = parse_features(options.all_features()).lossy();  // judged by its pictures; stages are shown

  GenerateOptions generate = options.generate_options(runner.model(options.model, loras).config);
  CollectingTrace reference_trace, free_trace, locked_trace;
  generate.trace = &reference_trace;
  const Result reference_result = reference.generate(request, source, generate);
  generate.trace = &free_trace;
  const Result free_result = optimized.generate(request, source, generate);
  generate.trace = &locked_trace;
  generate.locked_latents = at::stack(reference_trace.of("loop.latents_in"));
  optimized.generate(request, source, generate);

  const double bound = command.tolerance > 0 ? command.tolerance : options.dtype == "fp32" ? 1e-4 : 5e-2;
  const auto free_rows = compare_stages(reference_trace, free_trace, bound);
  auto locked_rows = compare_stages(reference_trace, locked_trace, bound);
  std::erase_if(locked_rows, [](const StageDifference& row) { return !row.name.starts_with("loop."); });
  std::string problem;
  const auto metrics = compare_images(reference_result.images, free_result.images, {"ssim", "lpips", "psnr"},
                                      bounds_of(options.preset, options.features, options.dtype), problem);
  const std::string mistrust = mistrust_reason(reference_result.images, source);
  const bool passed = (lossy || (all_passed(free_rows) && all_passed(locked_rows))) && problem.empty();
  const bool emulated = options.device == kEmulatedDevice;
  const std::string verdict = !passed ? "failed" : mistrust.empty() ? "passed" : "mistrusted";

  if (command.json) {
    nlohmann::json values = nlohmann::json::object();
    for (const MetricRow& row : metrics) values[row.name] = row.value;
    fmt::print("{}\n", nlohmann::json{{"verdict", verdict},
                                      {"device", options.device},
                                      {"emulated", emulated},
                                      {"reason", problem.empty() ? mistrust : problem},
                                      {"metrics", values},
                                      {"step_locked", to_json(locked_rows)},
                                      {"free_running", to_json(free_rows)}}
                           .dump(2));
  } else {
    print_table("step-locked (each step starts from the reference's latents)", locked_rows);
    print_table("free-running", free_rows);
    for (const MetricRow& row : metrics) {
      fmt::print("  {:<24} {:>12.6g}{}\n", row.name, row.value,
                 row.bound ? fmt::format("   bound {:g}, {:.1f}% used", *row.bound, 100 * row.budget_used) : "");
    }
    const std::string reason = problem.empty() ? mistrust : problem;
    fmt::print("{}{}{}{}\n", verdict, emulated ? " (emulated: the kernels ran on the CPU, no GPU has run this)" : "",
               reason.empty() ? "" : ": ", reason);
  }
  return passed ? kPass : kRegression;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<CheckCommand>();
  CLI::App* check = app.add_subcommand("check", "reference against optimized, stage by stage");
  auto* request =
      check->add_option("REQUEST.json", command->request_file, "the action's input object; - is standard input");
  auto* against =
      check->add_option("--against", command->against,
                        "goldens, or a folder of them: hold one implementation to diffusers' stored numbers");
  request->excludes(against);
  check->add_option("--impl", command->implementation, "with --against: reference or optimized")
      ->needs(against)
      ->capture_default_str();
  check->add_option("--out", command->out, "with --against: folder for parity.json and parity.html")
      ->needs(against)
      ->capture_default_str();
  check->add_option("--reference-device", command->reference_device, "of the reference: cpu, or cuda (eager libtorch)")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  check
      ->add_option("--reference-dtype", command->reference_dtype,
                   "precision of the reference: fp32, bf16, fp16 or fp64")
      ->capture_default_str();
  check->add_option("--tolerance", command->tolerance,
                    "on each stage, relative to its largest magnitude; 1e-4 for fp32, 5e-2 below");
  check->add_flag("--json", command->json, "print JSON");
  command->options.add_to(*check);
  check->callback([command, &exit_code] {
    if (!command->against.empty()) {
      if (!command->options.lora.empty())
        throw Error(ErrorCode::kUsage, "check --against takes no --lora: each stored case says which files it has");
      exit_code = check_against_goldens(command->against, command->implementation, command->options, command->out);
      return;
    }
    if (command->request_file.empty())
      throw Error(ErrorCode::kUsage, "check needs a REQUEST.json, or --against goldens");
    exit_code = execute(*command);
  });
}

}  // namespace i2i
