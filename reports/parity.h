// A parity run: one implementation held to diffusers' stored numbers, case by case and stage by stage. Plain rows from
// the harness, as JSON and as a page of their own (parity.json, parity.html).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace i2i {

/// The worst step of one stage.
struct ParityStage {
  std::string stage;
  int step = -1;                    ///< executed step, -1 outside the loop
  std::vector<std::int64_t> index;  ///< of the largest difference
  double distance = 0;
  double allowed = 0;   ///< four times diffusers' own float32 to float64 distance
  double used = 0;      ///< distance / allowed; infinite where nothing is allowed or nothing can be compared
  std::string problem;  ///< why nothing can be compared, or ""
};

struct ParityRow {
  std::string family;
  std::string name;       ///< of the case
  std::string scheduler;  ///< "" is the model's own
  std::string request;    ///< what matters of it, in words
  bool passed = false;
  std::vector<ParityStage> stages;  ///< in pipeline order
  std::vector<double> drift;        ///< share of the tolerance that the latents use after each step
};

struct ParityReport {
  std::string implementation;
  std::string command;  ///< the command that made it
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<ParityRow> rows;
};

nlohmann::json to_json(const ParityReport& report);
/// @throws nlohmann::json::exception where the document is no parity report
ParityReport parity_from_json(const nlohmann::json& document);

/// One HTML file that opens from disk: a row per case, a column per stage, the share of the tolerance used in each.
std::string parity_page(const ParityReport& report);

}  // namespace i2i
