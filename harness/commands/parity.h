// i2i check --against goldens: one implementation held to diffusers' stored numbers.
#pragma once

#include <string>

#include "harness/commands/command.h"

namespace i2i {

/// Runs every case of a goldens folder ("goldens" is the one that comes with i2i), prints a line each, and writes
/// parity.json and parity.html into `out`. @return kPass, or kRegression where a case is off
int check_against_goldens(const std::string& folder, const std::string& implementation, const RunOptions& options,
                          const std::string& out);

}  // namespace i2i
