// peers.md and the JSON of i2i beside other programs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "reports/peers.h"
#include "reports/text.h"

namespace i2i {
namespace {

using Json = nlohmann::ordered_json;

/// A name in a table's cell: neither a new column nor a new line, and no HTML for those who render it.
std::string cell_text(const std::string& text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '<' || c == '`' || c == '*') cell += '\\';
    cell += c == '\n' || c == '\r' ? ' ' : c;
  }
  return cell;
}

std::string times_cell(const PeerStage& stage) {
  const auto seconds = [](const Interval& ms) {
    return ms.samples.empty() ? "–" : number_text(ms.median / 1000, 3) + " s";
  };
  return seconds(stage.peer_ms) + " / " + seconds(stage.i2i_ms);
}

Json interval_json(const Interval& interval) {
  if (interval.samples.empty()) return nullptr;
  return {{"median", interval.median}, {"low", interval.low}, {"high", interval.high}, {"samples", interval.samples}};
}

Json pairs_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
  Json object = Json::object();
  for (const auto& [name, value] : pairs) object[name] = value;
  return object;
}

Json row_json(const PeerRow& row) {
  Json stages = Json::array(), distances = Json::array();
  for (const PeerStage& stage : row.stages) {
    stages.push_back({{"name", stage.name},
                      {"i2i_ms", interval_json(stage.i2i_ms)},
                      {"peer_ms", interval_json(stage.peer_ms)},
                      {"ratio", row.same_picture ? interval_json(stage.ratio) : Json()},
                      {"i2i_calls", stage.i2i_calls},
                      {"peer_calls", stage.peer_calls}});
  }
  for (const PictureDistance& distance : row.distances) {
    Json metrics = Json::object();
    for (const MetricRow& metric : distance.metrics)
      metrics[metric.name] = std::isfinite(metric.value) ? Json(metric.value) : Json(number_text(metric.value));
    distances.push_back({{"picture", distance.picture}, {"metrics", metrics}});
  }
  return {{"peer", row.peer},
          {"options", row.options},
          {"versions", pairs_json(row.versions)},
          {"date", row.date},
          {"command", row.command},
          {"rounds", row.rounds},
          {"verdict", row.verdict},
          {"same_picture", row.same_picture},
          {"asked_for", bar_text(row)},
          {"distances", distances},
          {"stages", stages},
          {"i2i_peak_bytes", row.i2i_peak_bytes},
          {"peer_peak_bytes", row.peer_peak_bytes}};
}

}  // namespace

std::string peers_markdown(const PeersReport& report) {
  std::string text = fmt::format(
      "# {}\n\n| peer | prompt | VAE encode | UNet | VAE decode | whole request | i2i is faster by | verdict | peak "
      "memory | pictures |\n|---|---|---|---|---|---|---|---|---|---|\n",
      cell_text(report.title));
  for (const PeerRow& row : report.rows) {
    text += fmt::format("| {} |", cell_text(peer_name(row)));
    for (const PeerStage& stage : row.stages) text += fmt::format(" {} |", times_cell(stage));
    const Interval& ratio = row.stages.back().ratio;
    text += row.same_picture
                ? fmt::format(" {:.2f} [{:.2f}, {:.2f}] | {} |", ratio.median, ratio.low, ratio.high, row.verdict)
                : std::string(" – | **not the same picture: no peer** |");
    text += fmt::format(" {} / {} |", bytes_text(row.peer_peak_bytes), bytes_text(row.i2i_peak_bytes));
    for (const PictureDistance& distance : row.distances)
      text += fmt::format(" {}{}{}", row.exact ? "" : distance.picture + " ", distance_text(distance),
                          &distance == &row.distances.back() ? " |\n" : ";");
  }
  text +=
      "\nTimes and memory: the peer's / i2i's, medians over rounds in turns; 95 % intervals of the paired ratio.\n\n";
  for (const PeerRow& row : report.rows) {
    text += fmt::format("- {}: {} round{}, {}", cell_text(peer_name(row)), row.rounds, row.rounds == 1 ? "" : "s",
                        cell_text(row.date));
    for (const auto& [library, version] : row.versions)
      text += fmt::format(", {} {}", cell_text(library), cell_text(version));
    text += fmt::format("; {}; again: `{}`\n", cell_text(bar_text(row)), row.command);
  }
  text += '\n';
  for (const auto& [name, value] : report.environment) text += fmt::format("- {}: {}\n", name, cell_text(value));
  return text;
}

std::string peers_json(const PeersReport& report) {
  Json document = {{"title", report.title},
                   {"request", pairs_json(report.request)},
                   {"environment", pairs_json(report.environment)},
                   {"peers", Json::array()}};
  for (const PeerRow& row : report.rows) document["peers"].push_back(row_json(row));
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace i2i
