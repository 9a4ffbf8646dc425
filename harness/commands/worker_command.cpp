// i2i worker: a model loaded once, a request per line of standard input, an answer per line of standard output. For
// whoever drives i2i from another program, and for measuring it beside other programs (ci/peers).
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <new>

#include "harness/commands/command.h"
#include "harness/implementations.h"
#include "harness/measure.h"
#include "harness/sweep.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

struct WorkerCommand {
  RunOptions options;
  std::string implementation = "optimized";
  std::string out = "out";
};

nlohmann::json answer_of(const Result& result, const nlohmann::json& images) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageTime& stage : result.stages) {
    stages.push_back({{"name", stage.name}, {"step", stage.step}, {"ms", stage.ms}});
  }
  return {{"images", images},
          {"seed", result.seed},
          {"width", result.width},
          {"height", result.height},
          {"steps_run", result.steps_run},
          {"warnings", result.warnings},
          {"total_ms", result.total_ms},
          {"stages", stages},
          {"peak_resident_bytes", peak_resident_bytes()}};
}

void execute(const WorkerCommand& command) {
  command.options.apply_threads();
  PipelineOptions pipeline_options;
  pipeline_options.device = command.options.device;
  pipeline_options.dtype = parse_dtype(command.options.dtype);
  if (command.implementation == "optimized")
    pipeline_options.features = parse_features(command.options.all_features()).switches;
  const auto model = with_loras(load_model(command.options.model_source()), command.options.loras());
  GenerateOptions options = command.options.generate_options(model->config);
  const auto pipeline = make_pipeline(command.implementation, model, pipeline_options);
  fmt::print("{}\n", nlohmann::json{{"ready", command.options.model}}.dump());
  std::fflush(stdout);

  std::string line;
  for (int number = 0; std::getline(std::cin, line); ++number) {
    nlohmann::json answer;
    try {
      const Request request = parse_request(line);
      const Result result = pipeline->generate(request, load_source_image(request.source_image), options);
      answer = answer_of(result, write_pictures(result, command.out, fmt::format("{}_", number)));
    } catch (const Error& error) {
      answer = to_json(error);  // the next request may be a good one
    } catch (const std::bad_alloc&) {
      answer = to_json(Error(ErrorCode::kGenerationFailed, "memory ran out"));
    }
    fmt::print("{}\n", answer.dump());
    std::fflush(stdout);
  }
}

}  // namespace

void add_worker(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<WorkerCommand>();
  CLI::App* worker =
      app.add_subcommand("worker", "answers requests, one a line of standard input, with pictures and stage times");
  worker->add_option("--impl", command->implementation, "reference or optimized")->capture_default_str();
  worker->add_option("--out", command->out, "folder for the pictures")->capture_default_str();
  command->options.add_to(*worker);
  worker->callback([command, &exit_code] {
    execute(*command);
    exit_code = kPass;
  });
}

}  // namespace i2i
