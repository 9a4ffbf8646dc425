// What the action promises, measured on the embedded model: does higher guidance follow the prompt, does low strength
// keep the source, ...? Each promise is one function and one line in a table; the directions are judged here, nowhere
// else. Called by `i2i promises` and by sweeps whose file asks for it.
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

/// How promises are measured: on how many cases, and with how many steps where steps are not what is varied.
struct PromiseSettings {
  int cases = 32;
  int steps = 10;
  StepSavings savings;
};

/// Measures every promise that `rows` does not hold yet, one seed a case, and appends its row.
/// @param progress  told what is measured now
/// @param finished  told after each promise, with `rows` so far: what is kept when a run is interrupted
void measure_promises(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseSettings& settings,
                      std::vector<PromiseRow>& rows, const std::function<void(const std::string&)>& progress,
                      const std::function<void(const std::vector<PromiseRow>&)>& finished);

/// PromiseRow::promise of all, in the order in which they are measured.
std::vector<std::string> promise_names();

/// Whether means rise (or fall) from each value to the next.
bool rises(const std::vector<Interval>& measured);
bool falls(const std::vector<Interval>& measured);

}  // namespace i2i
