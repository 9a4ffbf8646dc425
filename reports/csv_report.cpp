// results.csv: one row a cell, for spreadsheets and data frames. RFC 4180 quoting, rows end in "\n".
#include <algorithm>
#include <array>

#include "reports/report.h"
#include "reports/text.h"

namespace i2i {
namespace {

class CsvRow {
 public:
  CsvRow& text(const std::string& field) {
    if (!first_) line_ += ',';
    first_ = false;
    if (field.find_first_of(",\"\r\n") == std::string::npos) {
      line_ += field;
      return *this;
    }
    line_ += '"';
    for (const char c : field) line_ += c == '"' ? std::string("\"\"") : std::string(1, c);
    line_ += '"';
    return *this;
  }
  CsvRow& number(double value) { return text(number_text(value, 9)); }
  /// Median, low and high; three empty fields where there is nothing to show.
  CsvRow& interval(const Interval* value) {
    if (value == nullptr) return text("").text("").text("");
    return number(value->median).number(value->low).number(value->high);
  }
  std::string end() const { return line_ + '\n'; }

 private:
  std::string line_;
  bool first_ = true;
};

/// Axis and metric names in order of appearance: cells of one sweep may have different metrics.
struct Columns {
  std::vector<std::string> axes;
  std::vector<std::string> metrics;
};

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

Columns columns_of(const Report& report) {
  Columns columns;
  for (const CellRow& cell : report.cells) {
    for (const auto& [axis, value] : cell.axes) add_once(columns.axes, axis);
    for (const MetricRow& metric : cell.metrics) add_once(columns.metrics, metric.name);
  }
  return columns;
}

constexpr std::array<const char*, 2> kImplementations = {"reference", "optimized"};

std::string header(const Columns& columns) {
  CsvRow row;
  row.text("cell");
  for (const std::string& axis : columns.axes) row.text(axis);
  row.text("verdict").text("reason");
  for (const std::string& metric : columns.metrics)
    row.text(metric).text(metric + "_bound").text(metric + "_budget_used");
  for (const std::string name : kImplementations) {
    row.text(name + "_ms").text(name + "_ms_low").text(name + "_ms_high").text(name + "_samples");
    row.text(name + "_cold_ms").text(name + "_peak_host_bytes").text(name + "_peak_device_bytes");
  }
  return row.text("speedup").text("speedup_low").text("speedup_high").text("speedup_verdict").text("command").end();
}

void write_implementation(const ImplementationRow* row, bool with_times, CsvRow& csv) {
  if (row == nullptr) {
    csv.interval(nullptr).text("").text("").text("").text("");
    return;
  }
  const bool timed = with_times && !row->total_ms.samples.empty();
  csv.interval(timed ? &row->total_ms : nullptr);
  csv.text(timed ? std::to_string(row->total_ms.samples.size()) : "");
  csv.text(timed ? number_text(row->cold_ms, 9) : "");
  csv.text(std::to_string(row->peak_host_bytes)).text(std::to_string(row->peak_device_bytes));
}

std::string cell_row(const CellRow& cell, const Columns& columns) {
  CsvRow row;
  row.text(std::to_string(cell.index));
  for (const std::string& axis : columns.axes) {
    const auto found = std::ranges::find(cell.axes, axis, &std::pair<std::string, std::string>::first);
    row.text(found == cell.axes.end() ? "" : found->second);
  }
  row.text(cell.verdict).text(cell.reason);
  for (const std::string& name : columns.metrics) {
    const MetricRow* metric = find_metric(cell, name);
    row.text(metric ? number_text(metric->value, 9) : "");
    row.text(metric && metric->bound ? number_text(*metric->bound, 9) : "");
    row.text(metric && metric->bound ? number_text(metric->budget_used, 9) : "");
  }
  const bool with_times = may_show_times(cell);
  for (const char* name : kImplementations) write_implementation(find_implementation(cell, name), with_times, row);
  const bool has_speedup = with_times && cell.speedup;
  row.interval(has_speedup ? &*cell.speedup : nullptr).text(has_speedup ? cell.speedup_verdict : "");
  return row.text(cell.command).end();
}

}  // namespace

std::string write_csv_report(const Report& report) {
  const Columns columns = columns_of(report);
  std::string csv = header(columns);
  for (const CellRow& cell : report.cells) csv += cell_row(cell, columns);
  return csv;
}

}  // namespace i2i
