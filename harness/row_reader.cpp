#include "harness/row_reader.h"

#include <limits>

#include "reports/row_json.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;

// The inverse of row_json's spelling of numbers that JSON cannot hold.
double number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : "nan";
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> numbers(const Json& array) {
  std::vector<double> values;
  for (const Json& value : array) values.push_back(number(value));
  return values;
}

Interval interval(const Json& object) {
  return {number(object.at("median")), number(object.at("low")), number(object.at("high")),
          numbers(object.at("samples"))};
}

ImplementationRow implementation(const Json& object) {
  ImplementationRow row;
  row.implementation = object.at("implementation");
  if (!object.at("total_ms").is_null()) row.total_ms = interval(object["total_ms"]);
  if (!object.at("cold_ms").is_null()) row.cold_ms = number(object["cold_ms"]);
  for (const Json& stage : object.at("stages"))
    row.stages.push_back({stage.at("name"), stage.at("step"), interval(stage.at("ms"))});
  for (const Json& one : object.value("operators", Json::array())) {
    row.operators.push_back({one.at("stage"), one.at("step"), one.at("name"), one.at("kind"), one.at("calls"),
                             interval(one.at("ms")), one.value("gflop", 0.0), one.value("least_ms", 0.0)});
  }
  row.peak_host_bytes = object.at("peak_host_bytes");
  row.peak_device_bytes = object.at("peak_device_bytes");
  return row;
}

MetricRow metric(const Json& object) {
  MetricRow row;
  row.name = object.at("name");
  row.value = number(object.at("value"));
  if (!object.at("bound").is_null()) row.bound = number(object["bound"]);
  row.higher_is_better = object.at("higher_is_better");
  row.budget_used = number(object.at("budget_used"));
  row.passed = object.at("passed");
  return row;
}

PromiseRow promise(const Json& object) {
  PromiseRow row;
  row.promise = object.at("promise");
  row.parameter = object.at("parameter");
  row.quantity = object.at("quantity");
  row.values = object.at("values").get<std::vector<std::string>>();
  for (const Json& value : object.at("measured")) row.measured.push_back(interval(value));
  row.expectation = object.at("expectation");
  row.holds = object.at("holds");
  return row;
}

}  // namespace

std::string cell_to_text(const CellRow& row) {
  Report report;
  report.cells.push_back(row);
  return dump(report_to_json(report, Samples::kAll)["cells"][0]);
}

CellRow cell_from_text(const std::string& text) {
  const Json object = Json::parse(text);
  CellRow row;
  row.index = object.at("index");
  for (const auto& [name, value] : object.at("axes").items()) row.axes.emplace_back(name, value.get<std::string>());
  row.verdict = object.at("verdict");
  row.reason = object.at("reason");
  for (const Json& value : object.at("metrics")) row.metrics.push_back(metric(value));
  row.latents_drift = numbers(object.at("latents_drift"));
  for (const Json& value : object.at("implementations")) row.implementations.push_back(implementation(value));
  if (!object.at("speedup").is_null()) row.speedup = interval(object["speedup"]);
  row.speedup_verdict = object.at("speedup_verdict");
  row.warnings = object.at("warnings").get<std::vector<std::string>>();
  row.command = object.at("command");
  return row;
}

std::string promises_to_text(const std::vector<PromiseRow>& promises) {
  Report report;
  report.promises = promises;
  return dump(report_to_json(report, Samples::kAll)["promises"]);
}

std::vector<PromiseRow> promises_from_text(const std::string& text) {
  std::vector<PromiseRow> rows;
  for (const Json& object : Json::parse(text)) rows.push_back(promise(object));
  return rows;
}

}  // namespace i2i
