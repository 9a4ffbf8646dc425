// Subcommands of i2i: each file adds one or a few to the command line. A command sets its exit code; errors are thrown.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/lora.h"
#include "interface/model_source.h"
#include "interface/pipeline.h"

namespace i2i {

/// Exit codes of design section 7.
enum ExitCode {
  kPass = 0,
  kRegression = 1,
  kInconclusive = 3,
  kNoBaseline = 4,
  kUsageError = 64,
  kGenerationError = 70
};

/// Options that every command which runs a model shares.
struct RunOptions {
  std::string model = "scenes";
  std::vector<std::string> lora;  ///< FILE[:WEIGHT] each
  std::string model_config;       ///< "": what the file itself tells
  std::string device = "cpu";
  std::string dtype = "fp32";  ///< bf16 where a device is not the CPU and none is given
  std::string scheduler;
  std::string preset;
  std::string features;
  std::string noise = "per-image";
  std::string guidance_rescale = "0";
  int threads = 0;  ///< 0: libtorch's own choice

  void add_to(CLI::App& command);
  /// Sets the thread count and gives what a run needs. @throws Error(kUsage)
  NoiseMode noise_mode() const;
  ModelSource model_source() const;
  std::string all_features() const;  ///< the preset's and those beside it
  GenerateOptions generate_options(const ModelConfig& config) const;
  std::vector<LoraFile> loras() const;
  void apply_threads() const;
};

/// Writes FOLDER/PREFIX0.png, ... @return their file:// addresses, the action's `images`
nlohmann::json write_pictures(const Result& result, const std::string& folder, const std::string& prefix = "");

void add_run(CLI::App& app, int& exit_code);
void add_worker(CLI::App& app, int& exit_code);
void add_check(CLI::App& app, int& exit_code);
void add_sweep(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_promises(CLI::App& app, int& exit_code);
void add_kernels(CLI::App& app, int& exit_code);
void add_bounds(CLI::App& app, int& exit_code);
void add_peers(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_lists(CLI::App& app, int& exit_code);  ///< models, schedulers, datasets, features, schema, doctor

}  // namespace i2i
