// Times the stages of one run into Result::stages. Two clock reads a stage: cheap enough to be always on.
#pragma once

#include <chrono>
#include <utility>

#include "interface/pipeline.h"

namespace i2i {

/// Runs `body`, appends {name, step, milliseconds}, and returns what `body` returned.
template <typename Body>
auto timed_stage(std::vector<StageTime>& stages, const char* name, int step, Body&& body) {
  struct Stopwatch {
    std::vector<StageTime>& stages;
    const char* name;
    int step;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    ~Stopwatch() {
      const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
      stages.push_back({name, step, elapsed.count()});
    }
  } stopwatch{stages, name, step};
  return std::forward<Body>(body)();
}

}  // namespace i2i
