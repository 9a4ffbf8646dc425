#include "reports/report.h"

namespace i2i {

#define I2I_REPORT(format, file_name, writer) std::string writer(const Report& report);
#include "reports/reports.inc"
#undef I2I_REPORT

const std::vector<ReportWriter>& report_writers() {
  static const std::vector<ReportWriter> writers = {
#define I2I_REPORT(format, file_name, writer) {format, file_name, writer},
#include "reports/reports.inc"
#undef I2I_REPORT
  };
  return writers;
}

}  // namespace i2i
