#include "reports/parity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "report_style.h"
#include "reports/text.h"

namespace i2i {
namespace {

constexpr std::string_view kTableStyle =
    "main, .top { max-width: none; } table { border-collapse: collapse; width: auto; } "
    "td, th { padding: 0.2rem 0.45rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; "
    "} "
    "td.number { text-align: right; } td.case, td.place { white-space: nowrap; } th.stage { vertical-align: bottom; } "
    "th.stage span { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: 500; } "
    "th.family { padding-top: 1rem; font-size: 1.05rem; } .panel { overflow-x: auto; }";

/// JSON has no infinity: null stands for it.
nlohmann::json share_json(double used) { return std::isfinite(used) ? nlohmann::json(used) : nlohmann::json(); }
double share_of(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

const ParityStage* worst_of(const ParityRow& row) {
  const auto worst = std::max_element(row.stages.begin(), row.stages.end(),
                                      [](const ParityStage& a, const ParityStage& b) { return a.used < b.used; });
  return worst == row.stages.end() ? nullptr : &*worst;
}

std::string place_text(const ParityStage& stage) {
  std::string text = stage.stage;
  if (stage.step >= 0) text += fmt::format(", step {}", stage.step);
  if (!stage.problem.empty()) return text + ": " + stage.problem;
  return text + fmt::format(" at [{}]: {:.1e} of {:.1e}", fmt::join(stage.index, ","), stage.distance, stage.allowed);
}

/// Darker with the share used; beyond all of it in the colour of failure, with a mark for those who see no colours.
std::string cell_html(const ParityStage* stage) {
  if (stage == nullptr) return "<td class=\"number muted\">–</td>";
  const bool failed = !(stage->used <= 1) || !stage->problem.empty();
  const std::string style =
      failed ? "background:var(--failed);color:#fff"
             : fmt::format("background:color-mix(in srgb, var(--passed) {:.0f}%, transparent)", 60 * stage->used);
  return fmt::format("<td class=\"number\" style=\"{}\" title=\"{}\">{}{}</td>", style, xml_escape(place_text(*stage)),
                     failed ? "✗ " : "", stage->problem.empty() ? percent_text(stage->used) : "–");
}

/// The latents' share of the tolerance after each step, the top of the box being all of it.
std::string drift_html(const std::vector<double>& drift) {
  constexpr double kWidth = 120, kHeight = 22;
  std::string points;
  for (std::size_t i = 0; i < drift.size(); ++i) {
    const double x =
        drift.size() < 2 ? kWidth / 2 : kWidth * static_cast<double>(i) / static_cast<double>(drift.size() - 1);
    points += fmt::format("{:.1f},{:.1f} ", x, kHeight * (1 - std::min(1.0, drift[i])));
  }
  const std::string title =
      drift.empty() ? "" : fmt::format("{} after the last of {} steps", percent_text(drift.back()), drift.size());
  return fmt::format(
      "<td><svg width=\"{0}\" height=\"{1}\" viewBox=\"-2 -2 {2} {3}\" role=\"img\"><title>{4}</title><rect "
      "width=\"{0}\" "
      "height=\"{1}\" fill=\"none\" stroke=\"var(--line)\"/><polyline points=\"{5}\" fill=\"none\" "
      "stroke=\"var(--optimized)\" stroke-width=\"2\"/></svg></td>",
      kWidth, kHeight, kWidth + 4, kHeight + 4, xml_escape(title), points);
}

/// Stages that differ anywhere are columns, the others a sentence.
struct Columns {
  std::vector<std::string> differing, equal;
};

Columns columns_of(const ParityReport& report) {
  static constexpr std::string_view kOrder[] = {
      "source.pixels", "text.ids",    "text.embeds",      "text.pooled",          "vae.mean",
      "vae.logvar",    "draw",        "schedule",         "loop.latents_in",      "loop.unet_in",
      "loop.unet_out", "loop.guided", "loop.latents_out", "vae.latents_unscaled", "images"};
  const auto place = [](const std::string& stage) {
    return std::find_if(std::begin(kOrder), std::end(kOrder),
                        [&](std::string_view s) { return stage.starts_with(s); }) -
           std::begin(kOrder);
  };
  std::map<std::string, bool> differs;
  for (const ParityRow& row : report.rows) {
    for (const ParityStage& stage : row.stages) differs[stage.stage] |= stage.used != 0;
  }
  Columns columns;
  for (const auto& [stage, different] : differs) (different ? columns.differing : columns.equal).push_back(stage);
  for (auto* names : {&columns.differing, &columns.equal}) {
    std::stable_sort(names->begin(), names->end(),
                     [&](const std::string& x, const std::string& y) { return place(x) < place(y); });
  }
  return columns;
}

}  // namespace

nlohmann::json to_json(const ParityReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const ParityRow& row : report.rows) {
    nlohmann::json stages = nlohmann::json::array();
    for (const ParityStage& stage : row.stages) {
      stages.push_back({{"stage", stage.stage},
                        {"step", stage.step},
                        {"index", stage.index},
                        {"distance", share_json(stage.distance)},
                        {"allowed", stage.allowed},
                        {"used", share_json(stage.used)},
                        {"problem", stage.problem}});
    }
    nlohmann::json drift = nlohmann::json::array();
    for (const double share : row.drift) drift.push_back(share_json(share));
    rows.push_back({{"family", row.family},
                    {"name", row.name},
                    {"scheduler", row.scheduler},
                    {"request", row.request},
                    {"passed", row.passed},
                    {"stages", stages},
                    {"drift", drift}});
  }
  return {{"implementation", report.implementation},
          {"command", report.command},
          {"environment", report.environment},
          {"rows", rows}};
}

ParityReport parity_from_json(const nlohmann::json& document) {
  ParityReport report;
  report.implementation = document.at("implementation");
  report.command = document.at("command");
  report.environment = document.at("environment").get<std::vector<std::pair<std::string, std::string>>>();
  for (const auto& given : document.at("rows")) {
    ParityRow row{
        given.at("family"), given.at("name"), given.at("scheduler"), given.at("request"), given.at("passed"), {}, {}};
    for (const auto& stage : given.at("stages")) {
      row.stages.push_back({stage.at("stage"), stage.at("step"), stage.at("index").get<std::vector<std::int64_t>>(),
                            share_of(stage.at("distance")), stage.at("allowed"), share_of(stage.at("used")),
                            stage.at("problem")});
    }
    for (const auto& share : given.at("drift")) row.drift.push_back(share_of(share));
    report.rows.push_back(std::move(row));
  }
  return report;
}

std::string parity_page(const ParityReport& report) {
  const auto passed =
      std::count_if(report.rows.begin(), report.rows.end(), [](const ParityRow& row) { return row.passed; });
  const Columns columns = columns_of(report);
  const std::vector<std::string>& stages = columns.differing;
  std::string body, head;
  for (const std::string& stage : stages)
    head += fmt::format("<th class=\"stage\"><span>{}</span></th>", xml_escape(stage));
  const ParityStage* worst = nullptr;
  const ParityRow* worst_row = nullptr;
  std::string family;
  for (const ParityRow& row : report.rows) {
    if (row.family != family) {
      family = row.family;
      body +=
          fmt::format("<tr><th class=\"family\" colspan=\"{}\">{}</th></tr>", stages.size() + 4, xml_escape(family));
    }
    const ParityStage* own_worst = worst_of(row);
    if (own_worst != nullptr && (worst == nullptr || own_worst->used > worst->used)) {
      worst = own_worst;
      worst_row = &row;
    }
    body += fmt::format("<tr><td>{}</td><td class=\"case\">{}<div class=\"muted\">{}</div></td>",
                        row.passed ? "✓" : "✗ failed",
                        xml_escape(row.scheduler.empty() ? "the model's own" : row.scheduler), xml_escape(row.request));
    body += drift_html(row.drift);
    for (const std::string& name : stages) {
      const auto found =
          std::find_if(row.stages.begin(), row.stages.end(), [&](const ParityStage& s) { return s.stage == name; });
      body += cell_html(found == row.stages.end() ? nullptr : &*found);
    }
    body += fmt::format("<td class=\"muted place\">{}</td></tr>\n",
                        own_worst == nullptr ? "" : xml_escape(place_text(*own_worst)));
  }
  std::string environment;
  for (const auto& [key, value] : report.environment)
    environment += fmt::format("<tr><th>{}</th><td>{}</td></tr>", xml_escape(key), xml_escape(value));
  const std::string nearest = worst == nullptr ? "nothing was compared"
                                               : fmt::format("{} of {}, {} ({} used)", xml_escape(worst_row->name),
                                                             xml_escape(worst_row->family),
                                                             xml_escape(place_text(*worst)), percent_text(worst->used));
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>{0}: parity with diffusers</title><style>{1}\n{2}</style></head><body>\n"
      "<header class=\"top\"><div><div class=\"brand\">i2i<span>parity with diffusers</span></div><h1>{3} of {4} cases "
      "of "
      "the {0} implementation are diffusers'</h1><p class=\"muted\">Each figure is the share used of a stage's "
      "tolerance: four "
      "times the distance that diffusers' own float32 has from its float64 there. A cell's tooltip says where its "
      "largest "
      "difference sits.</p><p>Nearest to its bound: {5}</p><p>Equal to the last bit in every case: "
      "{6}</p></div></header>\n"
      "<main><section class=\"panel\"><table><thead><tr><th></th><th>scheduler and request</th><th>drift of the "
      "latents over "
      "steps</th>{7}<th>largest share at</th></tr></thead><tbody>\n{8}</tbody></table></section><section "
      "class=\"panel\">"
      "<h2>Made by</h2><p><code>{9}</code></p><table>{10}</table></section></main></body></html>\n",
      xml_escape(report.implementation), embedded::report_style, kTableStyle, passed, report.rows.size(), nearest,
      columns.equal.empty() ? "nothing" : xml_escape(fmt::format("{}", fmt::join(columns.equal, ", "))), head, body,
      xml_escape(report.command), environment);
}

}  // namespace i2i
