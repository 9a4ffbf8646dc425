// Times the stages of one run into Result::stages. Two clock reads a stage: cheap enough to be always on. Each stage is
// also a range for libtorch's observers (the harness's operator profile, NVTX), with the executed step as its number.
#pragma once

#include <ATen/record_function.h>

#if defined(I2I_NVTX)
#include <nvtx3/nvtx3.hpp>
#endif

#include <chrono>
#include <string>
#include <utility>

#include "interface/pipeline.h"

namespace i2i {

#if defined(I2I_NVTX)
/// Stages stand in a profiler's timeline under a name of their own; without a profiler a range is one branch.
struct NvtxDomain {
  static constexpr const char* name = "i2i";
};
#endif

/// A part of a stage ("down_blocks.0") as a range of its own for the same observers, while it lives. Where nobody
/// observes it costs a look at a flag. Ranges do not nest: a stage has blocks, a block has none.
class BlockRange {
 public:
  explicit BlockRange(const char* name) {
    if (range_.isActive()) range_.before(std::string(name));
  }
  BlockRange(const char* list, std::size_t index) {
    if (range_.isActive()) range_.before(std::string(list) + "." + std::to_string(index));
  }

 private:
  at::RecordFunction range_{at::RecordScope::USER_SCOPE};
};

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
#if defined(I2I_NVTX)
  const nvtx3::scoped_range_in<NvtxDomain> range(nvtx3::event_attributes{name, nvtx3::payload{step}});
#endif
  RECORD_FUNCTION_WITH_SCOPE(at::RecordScope::USER_SCOPE, name, c10::ArrayRef<const c10::IValue>{}, step);
  return std::forward<Body>(body)();
}

}  // namespace i2i
