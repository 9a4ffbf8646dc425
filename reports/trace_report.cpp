// trace.json: Chrome's trace events, for chrome://tracing and ui.perfetto.dev. A cell is a process, an implementation a
// thread; stages follow each other at their median durations, so that the two sides of a cell start at the same
// instant.
#include <algorithm>
#include <array>

#include "reports/report.h"
#include "reports/row_json.h"
#include "reports/text.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;

/// Stages in the order in which a pipeline runs them: what comes before the loop, the loop by step, what comes after.
std::vector<StageRow> in_order(std::vector<StageRow> stages) {
  constexpr std::array<std::string_view, 2> kAfterLoop = {"vae_decode", "postprocess"};
  const auto part = [&](const StageRow& stage) {
    if (stage.step >= 0) return 1;
    return std::ranges::find(kAfterLoop, stage.name) == kAfterLoop.end() ? 0 : 2;
  };
  std::ranges::stable_sort(stages, [&](const StageRow& a, const StageRow& b) {
    return std::pair(part(a), a.step) < std::pair(part(b), b.step);
  });
  return stages;
}

Json name_event(const char* what, int process, int thread, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

void add_events(const ImplementationRow& measured, int process, int thread, Json& events) {
  events.push_back(name_event("thread_name", process, thread, measured.implementation));
  double start_us = 0;
  for (const StageRow& stage : in_order(measured.stages)) {
    const double duration_us = stage.ms.median * 1000;
    Json arguments = {{"low_ms", stage.ms.low}, {"high_ms", stage.ms.high}, {"samples", stage.ms.samples.size()}};
    if (stage.step >= 0) arguments["step"] = stage.step;
    events.push_back({{"name", stage.name},
                      {"cat", measured.implementation},
                      {"ph", "X"},
                      {"pid", process},
                      {"tid", thread},
                      {"ts", start_us},
                      {"dur", duration_us},
                      {"args", std::move(arguments)}});
    start_us += duration_us;
  }
}

}  // namespace

std::string write_trace_report(const Report& report) {
  Json events = Json::array();
  for (const CellRow& cell : report.cells) {
    if (!may_show_times(cell)) continue;
    events.push_back(name_event("process_name", cell.index, 0, cell_name(cell)));
    int thread = 1;
    for (const ImplementationRow& measured : cell.implementations) {
      if (!measured.total_ms.samples.empty()) add_events(measured, cell.index, thread++, events);
    }
  }
  return dump({{"displayTimeUnit", "ms"}, {"otherData", {{"title", report.title}}}, {"traceEvents", events}}) + '\n';
}

}  // namespace i2i
