// Writes a report in some formats into a folder.
#pragma once

#include <string>
#include <vector>

#include "reports/report.h"

namespace i2i {

/// @return the files written. @throws Error(kUsage) for an unknown format, listing those known
std::vector<std::string> write_reports(const Report& report, const std::string& directory,
                                       const std::vector<std::string>& formats);

}  // namespace i2i
