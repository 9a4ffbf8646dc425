// gbench.json: Google Benchmark's JSON, for its tools/compare.py and the services that read it. One row a warm
// repetition, then median rows; "reference/..." and "optimized/..." pair up under `compare.py filters gbench.json
// reference optimized`. Latency only: quality stays in results.json. Cells that failed have no rows.
#include <fmt/format.h>

#include <algorithm>

#include "reports/report.h"
#include "reports/row_json.h"
#include "reports/text.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;

std::string benchmark_name(const CellRow& cell, const std::string& implementation) {
  std::string name = implementation;
  for (const auto& [axis, value] : cell.axes) name += fmt::format("/{}:{}", axis, value);
  return name;
}

Json row(const std::string& name, const std::string& run_name, const char* run_type,
         const ImplementationRow& measured) {
  return {{"name", name},
          {"run_name", run_name},
          {"run_type", run_type},
          {"repetitions", measured.total_ms.samples.size()},
          {"threads", 1}};
}

void add_time(Json& benchmark, double ms) {
  benchmark["iterations"] = 1;
  benchmark["real_time"] = ms;
  benchmark["cpu_time"] = ms;
  benchmark["time_unit"] = "ms";
}

void add_rows(const CellRow& cell, const ImplementationRow& measured, Json& benchmarks) {
  const std::string name = benchmark_name(cell, measured.implementation);
  for (std::size_t i = 0; i < measured.total_ms.samples.size(); ++i) {
    Json benchmark = row(name, name, "iteration", measured);
    benchmark["repetition_index"] = i;
    add_time(benchmark, measured.total_ms.samples[i]);
    benchmarks.push_back(std::move(benchmark));
  }
  Json median = row(name + "_median", name, "aggregate", measured);
  median["aggregate_name"] = "median";
  median["aggregate_unit"] = "time";
  add_time(median, measured.total_ms.median);
  benchmarks.push_back(std::move(median));
}

}  // namespace

std::string write_gbench_report(const Report& report) {
  Json context = {{"executable", "i2i"}, {"library_build_type", "release"}, {"json_schema_version", 1}};
  context["i2i_note"] = "cpu_time repeats real_time: only wall time is measured";
  for (const auto& [name, value] : report.environment) context["i2i " + name] = value;
  Json benchmarks = Json::array();
  for (const CellRow& cell : report.cells) {
    if (!may_show_times(cell)) continue;
    for (const ImplementationRow& measured : cell.implementations) {
      if (!measured.total_ms.samples.empty()) add_rows(cell, measured, benchmarks);
    }
  }
  return dump({{"context", context}, {"benchmarks", benchmarks}}) + '\n';
}

}  // namespace i2i
