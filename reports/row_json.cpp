#include "reports/row_json.h"

#include <cmath>

#include "reports/summary.h"
#include "reports/text.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(number_text(value)); }

Json numbers(const std::vector<double>& values) {
  Json array = Json::array();
  for (const double value : values) array.push_back(number(value));
  return array;
}

Json pairs(const std::vector<std::pair<std::string, std::string>>& rows) {
  Json object = Json::object();
  for (const auto& [name, value] : rows) object[name] = value;
  return object;
}

Json counts(const std::vector<std::pair<std::string, int>>& rows) {
  Json object = Json::object();
  for (const auto& [name, value] : rows) object[name] = value;
  return object;
}

Json interval(const Interval& row, Samples samples = Samples::kAll) {
  Json object = {{"median", number(row.median)}, {"low", number(row.low)}, {"high", number(row.high)}};
  if (samples == Samples::kAll) {
    object["samples"] = numbers(row.samples);
  } else {
    object["sample_count"] = row.samples.size();
  }
  return object;
}

Json implementation(const ImplementationRow& row, bool with_times, Samples samples) {
  Json stages = Json::array();
  const bool timed = with_times && !row.total_ms.samples.empty();
  if (timed) {
    for (const StageRow& stage : row.stages) {
      stages.push_back({{"name", stage.name}, {"step", stage.step}, {"ms", interval(stage.ms, samples)}});
    }
  }
  Json operators = Json::array();
  if (timed) {
    for (const OperatorRow& one : row.operators) {
      operators.push_back({{"stage", one.stage},
                           {"step", one.step},
                           {"name", one.name},
                           {"kind", one.kind},
                           {"calls", one.calls},
                           {"ms", interval(one.ms, samples)},
                           {"gflop", number(one.gflop)},
                           {"least_ms", number(one.least_ms)}});
    }
  }
  return {{"implementation", row.implementation},
          {"total_ms", timed ? interval(row.total_ms) : Json()},
          {"cold_ms", timed ? number(row.cold_ms) : Json()},
          {"stages", stages},
          {"operators", operators},
          {"peak_host_bytes", row.peak_host_bytes},
          {"peak_device_bytes", row.peak_device_bytes}};
}

Json metric(const MetricRow& row) {
  return {{"name", row.name},
          {"value", number(row.value)},
          {"bound", row.bound ? number(*row.bound) : Json()},
          {"higher_is_better", row.higher_is_better},
          {"budget_used", number(row.budget_used)},
          {"passed", row.passed}};
}

Json cell_to_json(const CellRow& row, Samples samples) {
  const bool with_times = may_show_times(row);
  Json metrics = Json::array();
  for (const MetricRow& value : row.metrics) metrics.push_back(metric(value));
  Json implementations = Json::array();
  for (const ImplementationRow& value : row.implementations) {
    implementations.push_back(implementation(value, with_times, samples));
  }
  const bool has_speedup = with_times && row.speedup;
  return {{"index", row.index},
          {"axes", pairs(row.axes)},
          {"verdict", row.verdict},
          {"reason", row.reason},
          {"metrics", metrics},
          {"latents_drift", numbers(row.latents_drift)},
          {"implementations", implementations},
          {"speedup", has_speedup ? interval(*row.speedup) : Json()},
          {"speedup_verdict", has_speedup ? row.speedup_verdict : ""},
          {"warnings", row.warnings},
          {"command", row.command}};
}

Json extreme(const std::optional<Summary::Extreme>& value) {
  return value ? Json{{"value", number(value->value)}, {"cell", value->cell}} : Json();
}

Json summary_to_json(const Summary& summary) {
  Json reasons = Json::array();
  for (const auto& [verdict, reason, cells] : summary.reasons) {
    reasons.push_back({{"verdict", verdict}, {"reason", reason}, {"cells", cells}});
  }
  Json worst = Json::array();
  for (const auto& [row, cell] : summary.worst_metrics) {
    worst.push_back(metric(row));
    worst.back()["cell"] = cell;
  }
  Json peaks = Json::array();
  for (const auto& [name, host, device] : summary.peaks) {
    peaks.push_back({{"implementation", name}, {"peak_host_bytes", host}, {"peak_device_bytes", device}});
  }
  return {{"cells", summary.cells},
          {"timed", summary.timed},
          {"verdicts", counts(summary.verdicts)},
          {"reasons", reasons},
          {"speedup", summary.speedup ? interval(*summary.speedup, Samples::kCounts) : Json()},
          {"slowest", extreme(summary.slowest)},
          {"fastest", extreme(summary.fastest)},
          {"speedup_verdicts", counts(summary.speedup_verdicts)},
          {"worst_metrics", worst},
          {"largest_budget", extreme(summary.largest_budget)},
          {"peaks", peaks},
          {"promises", summary.promises},
          {"promises_held", summary.promises_held}};
}

}  // namespace

Json report_to_json(const Report& report, Samples samples) {
  Json axes = Json::array();
  for (const auto& [name, values] : report.axes) axes.push_back({{"name", name}, {"values", values}});
  Json cells = Json::array();
  for (const CellRow& cell : report.cells) cells.push_back(cell_to_json(cell, samples));
  Json promises = Json::array();
  for (const PromiseRow& row : report.promises) {
    Json measured = Json::array();
    for (const Interval& value : row.measured) measured.push_back(interval(value, samples));
    promises.push_back({{"promise", row.promise},
                        {"parameter", row.parameter},
                        {"quantity", row.quantity},
                        {"values", row.values},
                        {"measured", measured},
                        {"expectation", row.expectation},
                        {"holds", row.holds}});
  }
  return {{"title", report.title}, {"command", report.command}, {"environment", pairs(report.environment)},
          {"axes", axes},          {"notes", report.notes},     {"summary", summary_to_json(summarize(report))},
          {"cells", cells},        {"promises", promises}};
}

std::string dump(const Json& document) { return document.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace i2i
