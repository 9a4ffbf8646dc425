// i2i calibrate: which layers of a model stay fp32 when the rest runs in int8, chosen by what each one's rounding does
// to the requests given. Writes the int8.json that belongs into the model's folder.
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "harness/calibration.h"
#include "harness/commands/calibrate.h"
#include "harness/commands/command.h"
#include "harness/sweep.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

struct CalibrateCommand {
  RunOptions options;
  std::vector<std::string> request_files;
  std::string out;
  double budget = 0.02;
};

nlohmann::ordered_json to_json(const Calibration& calibration, const CalibrateCommand& command) {
  nlohmann::ordered_json document;
  document["model"] = command.options.model;
  document["budget"] = command.budget;
  document["layers_in_fp32"] = calibration.layers_in_fp32;
  const auto rounded = [](double value) { return std::stod(fmt::format("{:.3g}", value)); };
  for (const auto& [network, error] : calibration.error_of_all)
    document["error_with_all_in_int8"][network] = rounded(error);
  for (const auto& [network, error] : calibration.error_left) document["error"][network] = rounded(error);
  for (const LayerSensitivity& layer : calibration.layers) {
    document["layers"][layer.layer] = {{"error", rounded(layer.error)}, {"share", rounded(layer.share)}};
  }
  return document;
}

void execute(const CalibrateCommand& command) {
  const c10::NoGradGuard no_grad;
  command.options.apply_threads();
  if (command.options.dtype != "fp32" || command.options.device != "cpu" || !command.options.features.empty()) {
    throw Error(ErrorCode::kUsage, "calibrate compares int8 with fp32 on the cpu: no other dtype, device or features");
  }
  std::vector<CalibrationRequest> requests;
  for (const std::string& file : command.request_files) {
    Request request = parse_request(read_text(file));
    if (!request.seed) request.seed = 0;
    requests.emplace_back(request, load_source_image(resolve_source(request.source_image, file)));
  }
  const auto model = load_model(command.options.model);
  const GenerateOptions options = command.options.generate_options(model->config);
  const Calibration calibration =
      calibrate(model, requests, options, command.budget, [](std::size_t layer, std::size_t layers) {
        fmt::print(stderr, "\rlayer {} of {}", layer + 1, layers);
        std::fflush(stderr);
      });
  fmt::print(stderr, "\r{:<72} {:>8} {:>7}  {}\n", "layer", "error", "share", "runs in");
  for (const LayerSensitivity& layer : calibration.layers) {
    const auto& kept = calibration.layers_in_fp32;
    const bool is_kept = std::find(kept.begin(), kept.end(), layer.layer) != kept.end();
    fmt::print(stderr, "{:<72} {:>7.3f}% {:>6.2f}%  {}\n", layer.layer, 100 * layer.error, 100 * layer.share,
               is_kept ? "fp32" : "int8");
  }
  for (std::size_t i = 0; i < calibration.error_left.size(); ++i) {
    fmt::print(stderr, "{}: error {:.2f} % with all layers in int8, {:.2f} % with those kept in fp32\n",
               calibration.error_left[i].first, 100 * calibration.error_of_all[i].second,
               100 * calibration.error_left[i].second);
  }
  const std::string text = to_json(calibration, command).dump(1) + "\n";
  if (command.out.empty()) {
    fmt::print("{}", text);
    return;
  }
  std::ofstream file(command.out);
  file << text;
  file.close();
  if (!file) throw Error(ErrorCode::kUsage, fmt::format("{} cannot be written", command.out));
}

}  // namespace

void add_calibrate(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<CalibrateCommand>();
  CLI::App* calibrate = app.add_subcommand(
      "calibrate", "which layers stay fp32 with the feature int8: measured, for a model's int8.json");
  calibrate->add_option("REQUEST.json", command->request_files, "requests whose pictures count")->required();
  calibrate->add_option("--out", command->out,
                        "file to write, MODEL/int8.json to have it used; standard output if not given");
  calibrate
      ->add_option("--budget", command->budget,
                   "error that int8 may cause in what UNet, encoder and decoder give out, relative to its magnitude")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->options.add_to(*calibrate);
  calibrate->callback([command, &exit_code] {
    execute(*command);
    exit_code = kPass;
  });
}

}  // namespace i2i
