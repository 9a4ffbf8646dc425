// Which scheduler, with which configuration: names, aliases and diffusers' from_config rule (semantics.md section 1).
// Only names and configuration live here; the schedules and steps are computed by each implementation for itself.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "interface/model_config.h"

namespace i2i {

struct SchedulerSpec {
  std::string name;        ///< canonical, a row's name in schedulers.json: "ddim", "euler_a", "dpmpp_2m", ...
  std::string class_name;  ///< diffusers' class
  nlohmann::json
      config;  ///< every key that the class reads, with its effective value, and step arguments ("eta") if given
};

/// @param text   "" for the model's own scheduler, else NAME[:key=value,...]; NAME is canonical, an alias
///               ("Euler a", "DPM++ 2M Karras") or a diffusers class name, case ignored
/// @throws Error(kUsage) listing the known names or keys
SchedulerSpec resolve_scheduler(const std::string& text, const ModelConfig& model);

/// One row of `i2i schedulers`.
struct SchedulerDescription {
  std::string name;
  std::string class_name;
  std::vector<std::string> aliases;
  nlohmann::json defaults;
};
const std::vector<SchedulerDescription>& known_schedulers();

}  // namespace i2i
