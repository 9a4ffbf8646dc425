// junit.xml: one test case a cell and one a promise, so that CI systems list, count and annotate them.
// mistrusted, skipped and unsupported are JUnit's "skipped" with the verdict in the message: none of them is a pass.
#include <fmt/format.h>

#include <algorithm>

#include "reports/report.h"
#include "reports/text.h"

namespace i2i {
namespace {

/// Seconds of the optimized implementation, as JUnit's `time`; 0 where the cell shows no time.
double seconds(const CellRow& cell) {
  const ImplementationRow* row = find_implementation(cell, "optimized");
  return may_show_times(cell) && row != nullptr && !row->total_ms.samples.empty() ? row->total_ms.median / 1000 : 0;
}

std::string details(const CellRow& cell) {
  std::string text;
  for (const MetricRow& metric : cell.metrics) {
    text += fmt::format("{} = {}", metric.name, number_text(metric.value, 9));
    if (metric.bound)
      text += fmt::format(" (bound {}, {})", number_text(*metric.bound, 9), metric.passed ? "met" : "missed");
    text += '\n';
  }
  return text + "repeat with: " + cell.command + '\n';
}

std::string cell_case(const CellRow& cell) {
  std::string xml = fmt::format("    <testcase classname=\"i2i.sweep\" name=\"{}\" time=\"{:.6f}\">\n",
                                xml_escape(cell_name(cell)), seconds(cell));
  if (cell.verdict == "failed") {
    xml += fmt::format("      <failure type=\"failed\" message=\"{}\">{}</failure>\n", xml_escape(cell.reason),
                       xml_escape(details(cell)));
  } else if (cell.verdict != "passed") {
    xml += fmt::format("      <skipped message=\"{}\"/>\n", xml_escape(cell.verdict + ": " + cell.reason));
  }
  if (cell.verdict != "failed") xml += fmt::format("      <system-out>{}</system-out>\n", xml_escape(details(cell)));
  return xml + "    </testcase>\n";
}

std::string promise_case(const PromiseRow& row) {
  std::string xml =
      fmt::format("    <testcase classname=\"i2i.promises\" name=\"{}\" time=\"0\">\n", xml_escape(row.promise));
  if (!row.holds) {
    std::string measured;
    for (std::size_t i = 0; i < std::min(row.values.size(), row.measured.size()); ++i) {
      measured += fmt::format("{}={}: {}\n", row.parameter, row.values[i], interval_text(row.measured[i]));
    }
    xml += fmt::format("      <failure type=\"promise\" message=\"{}\">{}</failure>\n",
                       xml_escape(row.quantity + ": expected " + row.expectation), xml_escape(measured));
  }
  return xml + "    </testcase>\n";
}

std::string suite(const std::string& name, const std::string& cases, std::size_t tests, std::size_t failures,
                  std::size_t skipped, double time) {
  return fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.6f}\">\n"
      "{}  </testsuite>\n",
      xml_escape(name), tests, failures, skipped, time, cases);
}

}  // namespace

std::string write_junit_report(const Report& report) {
  std::string cells;
  std::size_t failures = 0;
  std::size_t passed = 0;
  double time = 0;
  for (const CellRow& cell : report.cells) {
    cells += cell_case(cell);
    failures += cell.verdict == "failed";
    passed += cell.verdict == "passed";
    time += seconds(cell);
  }
  std::string promises;
  for (const PromiseRow& row : report.promises) promises += promise_case(row);
  const auto broken = static_cast<std::size_t>(std::ranges::count(report.promises, false, &PromiseRow::holds));
  std::string xml =
      fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\">\n",
                  xml_escape(report.title), report.cells.size() + report.promises.size(), failures + broken);
  xml += suite("cells", cells, report.cells.size(), failures, report.cells.size() - failures - passed, time);
  if (!report.promises.empty()) xml += suite("promises", promises, report.promises.size(), broken, 0, 0);
  return xml + "</testsuites>\n";
}

}  // namespace i2i
