// Report rows as JSON, without pictures: what results.json and the page's data block are made of.
#pragma once

#include <nlohmann/json.hpp>

#include "reports/report.h"

namespace i2i {

/// kAll keeps every raw sample; kCounts replaces the samples of stages by their number, for the page.
enum class Samples { kAll, kCounts };

/// {"title", "command", "environment", "axes", "notes", "summary", "cells", "promises"}; keys are the fields' names.
/// Numbers that JSON cannot hold are the strings "inf", "-inf" and "nan". Cells that failed carry no times.
nlohmann::ordered_json report_to_json(const Report& report, Samples samples);

/// Compact text; bytes that are not UTF-8 become U+FFFD.
std::string dump(const nlohmann::ordered_json& document);

}  // namespace i2i
