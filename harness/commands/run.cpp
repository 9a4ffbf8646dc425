// i2i run: one request through one implementation; prints the action's output object.
#include <fmt/format.h>

#include "harness/commands/command.h"
#include "harness/implementations.h"
#include "harness/profile_text.h"
#include "harness/sweep.h"
#include "harness/trace.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

struct RunCommand {
  RunOptions options;
  std::string request_file;
  std::string implementation = "optimized";
  std::string out = "out";
  std::string dump_file;
  bool profile = false;
};

Request read_request(const std::string& file) {
  Request request = parse_request(read_text(file));
  request.source_image = resolve_source(request.source_image, file);
  return request;
}

void write_dump(const CollectingTrace& trace, const Result& result, const std::string& file) {
  std::vector<std::pair<std::string, at::Tensor>> tensors = {{"images", result.images}};
  for (auto& entry : trace.stacked()) {
    if (entry.first != "images") tensors.push_back(std::move(entry));
  }
  write_safetensors(tensors, file);
}

void print_stages(const Result& result) {
  double unet_ms = 0;
  int calls = 0;
  for (const StageTime& stage : result.stages) {
    if (stage.name == "unet") {
      unet_ms += stage.ms;
      ++calls;
    } else if (stage.name != "scheduler_step") {
      fmt::print(stderr, "  {:<16} {:9.2f} ms\n", stage.name, stage.ms);
    }
  }
  fmt::print(stderr, "  {:<16} {:9.2f} ms in {} steps\n", "unet", unet_ms, calls);
}

void execute(const RunCommand& command) {
  command.options.apply_threads();
  const Request request = read_request(command.request_file);
  PipelineOptions pipeline_options;
  pipeline_options.device = command.options.device;
  pipeline_options.dtype = parse_dtype(command.options.dtype);
  if (command.implementation == "optimized")
    pipeline_options.features = parse_features(command.options.all_features()).switches;
  if (command.implementation.starts_with("remote:")) make_pipeline(command.implementation, nullptr, pipeline_options);

  const Image source = load_source_image(request.source_image);
  const auto model = with_loras(load_model(command.options.model_source()), command.options.loras());
  GenerateOptions options = command.options.generate_options(model->config);
  CollectingTrace trace;
  if (!command.dump_file.empty()) options.trace = &trace;
  const auto pipeline = make_pipeline(command.implementation, model, pipeline_options);
  const Result result = pipeline->generate(request, source, options);

  const nlohmann::json images = write_pictures(result, command.out);
  if (!command.dump_file.empty()) write_dump(trace, result, command.dump_file);
  for (const std::string& warning : result.warnings) fmt::print(stderr, "warning: {}\n", warning);
  fmt::print(stderr, "{}: {} picture(s) of {} x {}, seed {}, {} step(s), {:.1f} ms\n", command.implementation,
             result.images.size(0), result.width, result.height, result.seed, result.steps_run, result.total_ms);
  print_stages(result);
  if (command.profile) {  // a second run: the first paid for memory and threads, and timing operators costs time
    options.trace = nullptr;
    const Roofline roofline = measure_roofline();
    const OperatorProfile profile(roofline);
    pipeline->generate(request, source, options);
    fmt::print(stderr, "{}", profile_text(profile.times(), roofline));
  }
  fmt::print("{}\n", nlohmann::json{{"images", images}}.dump());
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<RunCommand>();
  CLI::App* run = app.add_subcommand("run", "one request through one implementation");
  run->add_option("REQUEST.json", command->request_file, "the action's input object; - is standard input")->required();
  run->add_option("--impl", command->implementation, "reference, optimized, or remote:NAME")->capture_default_str();
  run->add_option("--out", command->out, "folder for the pictures")->capture_default_str();
  run->add_option("--dump", command->dump_file, "safetensors file for every stage's tensors");
  run->add_flag("--profile", command->profile, "run once more with every operator timed, and say where the time goes");
  command->options.add_to(*run);
  run->callback([command, &exit_code] {
    execute(*command);
    exit_code = kPass;
  });
}

}  // namespace i2i
