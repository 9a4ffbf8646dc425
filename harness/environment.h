// What machine and build the numbers come from, and what a machine lacks.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace i2i {

/// {name, value}: when it started, processor, cores, threads, load, memory, governor, libraries, build, commit.
std::vector<std::pair<std::string, std::string>> environment();

/// One line of `i2i doctor`.
struct Finding {
  std::string what;
  bool present = false;
  std::string detail;  ///< what it is for, and what to do where it is missing
};
std::vector<Finding> examine_machine();

}  // namespace i2i
