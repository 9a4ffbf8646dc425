// What the action promises, measured on the embedded model: does higher guidance follow the prompt, does low strength
// keep the source, ...? Each promise is one function that fills one row; the directions are judged here, nowhere else.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/scene_reader.h"
#include "interface/pipeline.h"
#include "reports/report.h"

namespace i2i {

/// One drawn source with prompts of the same layout (datasets/scenes/make_promise_cases.py).
struct PromiseCase {
  Image source, source_in_one_color;
  std::string prompt, prompt_without_color, prompt_without_place, prompt_for_negative;
  std::vector<SceneShape> wanted;  ///< size left empty
};

struct PromiseCases {
  std::vector<PromiseCase> cases;
  std::string negative_prompt;
};

/// Reads datasets/promises. @param count  the first `count` of them. @throws Error(kUsage) for more than there are
PromiseCases load_promise_cases(int count);

/// Measures every promise with one seed a case. @param progress  told the promise and the share done
std::vector<PromiseRow> measure_promises(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseCases& cases,
                                         int steps, const std::function<void(const std::string&)>& progress);

/// Whether medians rise (or fall) from each value to the next.
bool rises(const std::vector<Interval>& measured);
bool falls(const std::vector<Interval>& measured);

}  // namespace i2i
