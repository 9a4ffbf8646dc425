// A sweep file and the cells that it expands to, in a stable order: the last axis varies fastest.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/promises.h"
#include "interface/lora.h"
#include "interface/request.h"

namespace i2i {

/// One combination of axis values: a validated request and the run options beside it.
struct Cell {
  int index = 0;
  std::string key;  ///< the axes' values as text; names the cell in the store
  std::vector<std::pair<std::string, std::string>> axes;
  Request request;
  std::string model;
  std::vector<LoraFile> loras;
  std::string scheduler;  ///< "" is the model's own
  std::string dtype;
  std::string reference_dtype;  ///< what the optimized implementation is compared with and timed against
  std::string preset;           ///< "" is none
  std::string features;         ///< as --features has it, after the preset's
  double guidance_rescale = 0;
};

struct Sweep {
  std::string name;
  std::vector<std::pair<std::string, std::vector<std::string>>> axes;
  std::vector<Cell> cells;
  int warmup = 1;
  int repetitions = 5;
  int profile = 0;  ///< further runs of each cell in which every operator is timed
  std::vector<std::string> metrics;
  std::optional<PromiseSettings> promises;  ///< measured on the reference after the cells, where the file asks for it
  nlohmann::json bounds;                    ///< metric name -> bound that a cell is held to
  nlohmann::json document;                  ///< the file with overrides applied: what a store belongs to
};

/// Names that may stand under "axes": request fields and run options.
const std::vector<std::string>& axis_names();

/// @param path       {"name", "model", "model_config", "request", "axes", "metrics", "bounds", "warmup", "repetitions",
/// "profile",
///                    "promises": {"cases", "steps"}}
/// @param overrides  "name=v1,v2" each, replacing or adding one axis
/// @throws Error(kUsage) naming the key or axis, or the violations of the first cell whose request is invalid
Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides);

/// `source_image` of a request file, made absolute: relative paths are relative to the file that names them.
std::string resolve_source(const std::string& source, const std::string& file);

/// Reads a file, "-" being standard input. @throws Error(kUsage)
std::string read_text(const std::string& path);

}  // namespace i2i
