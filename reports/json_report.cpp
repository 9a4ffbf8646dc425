// results.json: every row and raw sample, less the pictures. Versioned: readers refuse a version they do not know.
#include "reports/report.h"
#include "reports/row_json.h"

namespace i2i {

std::string write_json_report(const Report& report) {
  nlohmann::ordered_json document = {{"format", "i2i-results"}, {"version", 1}};
  document.update(report_to_json(report, Samples::kAll));
  return dump(document) + '\n';
}

}  // namespace i2i
