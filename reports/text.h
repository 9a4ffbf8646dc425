// Words and numbers as all text reports write them, so that one cell has one name and one rounding everywhere.
// Not a place for statistics: those come from the harness.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reports/report.h"

namespace i2i {

/// "strength=0.5 steps=10": the cell's place in the sweep.
std::string cell_name(const CellRow& cell);

/// `digits` significant digits, no trailing zeros; "inf", "-inf" and "nan" in words.
std::string number_text(double value, int digits = 4);

/// "12.3 [11.9, 12.8]".
std::string interval_text(const Interval& interval);

/// "1.21 GB": powers of ten, as memory vendors and nvidia-smi's totals do not agree on anything else.
std::string bytes_text(std::int64_t bytes);

/// "4.2 %", "29000 %"; "all" where the share could not be computed.
std::string percent_text(double share);

/// Text for XML content and attributes; characters that XML 1.0 forbids, and bytes that are not UTF-8, become U+FFFD.
std::string xml_escape(std::string_view text);

std::string base64(std::string_view bytes);

/// A cell may show times only where it passed its check; mistrusted cells passed it as well, for little.
bool may_show_times(const CellRow& cell);

/// The row of one implementation, or null.
const ImplementationRow* find_implementation(const CellRow& cell, std::string_view implementation);

/// The metric of that name, or null.
const MetricRow* find_metric(const CellRow& cell, std::string_view name);

}  // namespace i2i
