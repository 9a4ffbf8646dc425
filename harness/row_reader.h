// Report rows back from the JSON that reports/row_json.h writes; what the store keeps per cell.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "reports/report.h"

namespace i2i {

/// A cell as JSON, all samples included, pictures not.
std::string cell_to_text(const CellRow& row);
CellRow cell_from_text(const std::string& text);

std::string promises_to_text(const std::vector<PromiseRow>& promises);
std::vector<PromiseRow> promises_from_text(const std::string& text);

}  // namespace i2i
