// report.md: the summary and a table, short enough for a pull request or a CI job's page.
#include <fmt/format.h>

#include <algorithm>

#include "reports/report.h"
#include "reports/summary.h"
#include "reports/text.h"

namespace i2i {
namespace {

/// Text inside a table or a line: nothing in it may end the cell, start HTML or change the style.
std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      escaped += ' ';
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      if (std::string_view("|\\`*_[]#").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

/// A fenced block whose fence is longer than any run of backquotes inside.
std::string code_block(const std::string& text) {
  std::size_t longest = 2;
  std::size_t run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fmt::format("{}\n{}\n{}\n", fence, text, fence);
}

std::string verdict_lines(const Summary& summary) {
  std::string counts;
  for (const auto& [verdict, cells] : summary.verdicts) {
    if (cells > 0) counts += fmt::format("{}**{} {}**", counts.empty() ? "" : " · ", cells, escape(verdict));
  }
  std::string text = fmt::format("{} of {} cells.\n", counts.empty() ? "None" : counts, summary.cells);
  for (const auto& [verdict, reason, cells] : summary.reasons) {
    text += fmt::format("\n- {}, {} cell{} (first: {}): {}", escape(verdict), cells.size(),
                        cells.size() == 1 ? "" : "s", cells.front(), escape(reason));
  }
  return text + (summary.reasons.empty() ? "" : "\n");
}

std::string figures(const Summary& summary) {
  std::string text = "\n| question | answer |\n|---|---|\n";
  text += "| how much faster | ";
  if (summary.speedup) {
    text += fmt::format("**{}×** [{}, {}], geometric mean over {} cells; slowest {}×, fastest {}× |\n",
                        number_text(summary.speedup->median, 3), number_text(summary.speedup->low, 3),
                        number_text(summary.speedup->high, 3), summary.timed, number_text(summary.slowest->value, 3),
                        number_text(summary.fastest->value, 3));
  } else {
    text += "no cell was timed |\n";
  }
  for (const auto& [metric, cell] : summary.worst_metrics) {
    text += fmt::format("| worst {} | **{}** in cell {}", escape(metric.name), number_text(metric.value, 7), cell);
    if (metric.bound) {
      text += fmt::format(" (bound {}, {} of the tolerance used)", number_text(*metric.bound, 7),
                          percent_text(metric.budget_used));
    }
    text += " |\n";
  }
  for (const auto& [implementation, host, device] : summary.peaks) {
    text += fmt::format("| peak memory, {} | **{}**{} |\n", escape(implementation), bytes_text(host),
                        device > 0 ? fmt::format(" host, **{}** device", bytes_text(device)) : "");
  }
  return text;
}

std::string times(const CellRow& cell, std::string_view implementation) {
  const ImplementationRow* row = find_implementation(cell, implementation);
  if (!may_show_times(cell) || row == nullptr || row->total_ms.samples.empty()) return "";
  return interval_text(row->total_ms);
}

std::string metric(const CellRow& cell, std::string_view name) {
  const MetricRow* row = find_metric(cell, name);
  return row ? number_text(row->value, 7) : "";
}

std::string cell_table(const Report& report) {
  std::string text =
      "\n## Cells\n\n| cell | axes | verdict | reference ms | optimized ms | speedup | SSIM | LPIPS |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const CellRow& cell : report.cells) {
    const bool has_speedup = may_show_times(cell) && cell.speedup;
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", cell.index, escape(cell_name(cell)),
                        escape(cell.verdict + (cell.reason.empty() ? "" : ": " + cell.reason)),
                        times(cell, "reference"), times(cell, "optimized"),
                        has_speedup ? interval_text(*cell.speedup) + ' ' + escape(cell.speedup_verdict) : "",
                        metric(cell, "ssim"), metric(cell, "lpips"));
  }
  return text;
}

std::string promise_table(const Report& report) {
  if (report.promises.empty()) return "";
  std::string text = "\n## Promises\n\n| promise | measured | expected | holds |\n|---|---|---|---|\n";
  for (const PromiseRow& row : report.promises) {
    std::string measured;
    for (std::size_t i = 0; i < std::min(row.values.size(), row.measured.size()); ++i) {
      measured += fmt::format("{}{}: {}", i == 0 ? "" : "; ", escape(row.values[i]), interval_text(row.measured[i]));
    }
    text += fmt::format("| {} | {} over {}: {} | {} | {} |\n", escape(row.promise), escape(row.quantity),
                        escape(row.parameter), measured, escape(row.expectation), row.holds ? "yes" : "**no**");
  }
  return text;
}

}  // namespace

std::string write_markdown_report(const Report& report) {
  const Summary summary = summarize(report);
  std::string text = fmt::format("# {}\n\n{}{}", escape(report.title), verdict_lines(summary), figures(summary));
  text += promise_table(report) + cell_table(report);
  for (const std::string& note : report.notes) text += fmt::format("\n{}\n", escape(note));
  text += "\n## Environment\n\n| | |\n|---|---|\n";
  for (const auto& [name, value] : report.environment)
    text += fmt::format("| {} | {} |\n", escape(name), escape(value));
  return text + "\nMade by:\n\n" + code_block(report.command);
}

}  // namespace i2i
