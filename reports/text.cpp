#include "reports/text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace i2i {
namespace {

/// Length of the well-formed UTF-8 sequence at the front of `text` that XML 1.0 allows; 0 where there is none.
std::size_t legal_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) {
    return byte(0) >= 0x20 || text[0] == '\t' || text[0] == '\n' || text[0] == '\r' ? 1 : 0;
  }
  const std::size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < length) return 0;
  std::uint32_t code = byte(0) & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest.at(length) || surrogate || code > 0x10FFFF || code == 0xFFFE || code == 0xFFFF ? 0 : length;
}

}  // namespace

std::string cell_name(const CellRow& cell) {
  std::string name;
  for (const auto& [axis, value] : cell.axes) {
    if (!name.empty()) name += ' ';
    name += fmt::format("{}={}", axis, value);
  }
  return name.empty() ? fmt::format("cell {}", cell.index) : name;
}

std::string number_text(double value, int digits) { return fmt::format("{:.{}g}", value, digits); }

std::string interval_text(const Interval& interval) {
  return fmt::format("{} [{}, {}]", number_text(interval.median), number_text(interval.low),
                     number_text(interval.high));
}

std::string bytes_text(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.2f} GB", value / 1e9);
  return value >= 1e6 ? fmt::format("{:.0f} MB", value / 1e6) : fmt::format("{:.0f} kB", value / 1e3);
}

std::string percent_text(double share) {
  if (!std::isfinite(share)) return "all";
  return share < 1 ? number_text(100 * share, 2) + " %" : fmt::format("{:.0f} %", 100 * share);
}

std::string xml_escape(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const std::size_t length = legal_sequence(text);
    if (length != 1) {
      escaped += length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(0, length);
    } else {
      switch (text[0]) {
        case '&':
          escaped += "&amp;";
          break;
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '"':
          escaped += "&quot;";
          break;
        case '\'':
          escaped += "&#39;";
          break;
        case '\n':
          escaped += "&#10;";
          break;  // attributes would turn it into a space
        case '\r':
          escaped += "&#13;";
          break;
        default:
          escaped += text[0];
      }
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return escaped;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      const bool padding = k > bytes.size() - i;
      text += padding ? '=' : kAlphabet[group >> (18 - 6 * k) & 63u];
    }
  }
  return text;
}

bool may_show_times(const CellRow& cell) { return cell.verdict == "passed" || cell.verdict == "mistrusted"; }

const ImplementationRow* find_implementation(const CellRow& cell, std::string_view implementation) {
  for (const ImplementationRow& row : cell.implementations) {
    if (row.implementation == implementation) return &row;
  }
  return nullptr;
}

const MetricRow* find_metric(const CellRow& cell, std::string_view name) {
  for (const MetricRow& metric : cell.metrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

}  // namespace i2i
