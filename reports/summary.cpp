#include "reports/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "reports/text.h"

namespace i2i {
namespace {

constexpr std::array<const char*, 5> kVerdicts = {"failed", "mistrusted", "unsupported", "skipped", "passed"};

/// A value that could not be computed is worse than any other.
bool is_worse(const MetricRow& metric, const MetricRow& than) {
  if (std::isnan(metric.value) || std::isnan(than.value)) return std::isnan(metric.value) && !std::isnan(than.value);
  return metric.higher_is_better ? metric.value < than.value : metric.value > than.value;
}

void count(std::vector<std::pair<std::string, int>>& counts, const std::string& name) {
  const auto found = std::ranges::find(counts, name, &std::pair<std::string, int>::first);
  if (found == counts.end()) {
    counts.emplace_back(name, 1);
  } else {
    ++found->second;
  }
}

void add_reason(const CellRow& cell, std::vector<Summary::Reason>& reasons) {
  if (cell.verdict == "passed") return;
  for (Summary::Reason& known : reasons) {
    if (known.verdict == cell.verdict && known.reason == cell.reason) {
      known.cells.push_back(cell.index);
      return;
    }
  }
  reasons.push_back({cell.verdict, cell.reason, {cell.index}});
}

void add_metrics(const CellRow& cell, Summary& summary) {
  for (const MetricRow& metric : cell.metrics) {
    const auto known = std::ranges::find(summary.worst_metrics, metric.name,
                                         [](const Summary::WorstMetric& worst) { return worst.metric.name; });
    if (known == summary.worst_metrics.end()) {
      summary.worst_metrics.push_back({metric, cell.index});
    } else if (is_worse(metric, known->metric)) {
      *known = {metric, cell.index};
    }
    if (metric.bound && !(summary.largest_budget && summary.largest_budget->value >= metric.budget_used)) {
      summary.largest_budget = Summary::Extreme{metric.budget_used, cell.index};
    }
  }
}

void add_peaks(const CellRow& cell, std::vector<Summary::Peak>& peaks) {
  for (const ImplementationRow& row : cell.implementations) {
    auto known = std::ranges::find(peaks, row.implementation, &Summary::Peak::implementation);
    if (known == peaks.end()) known = peaks.insert(peaks.end(), {row.implementation, 0, 0});
    known->host_bytes = std::max(known->host_bytes, row.peak_host_bytes);
    known->device_bytes = std::max(known->device_bytes, row.peak_device_bytes);
  }
}

}  // namespace

Summary summarize(const Report& report) {
  Summary summary;
  summary.cells = static_cast<int>(report.cells.size());
  for (const char* verdict : kVerdicts) summary.verdicts.emplace_back(verdict, 0);
  Interval log_speedup;
  for (const CellRow& cell : report.cells) {
    count(summary.verdicts, cell.verdict);
    add_reason(cell, summary.reasons);
    add_metrics(cell, summary);
    add_peaks(cell, summary.peaks);
    if (!cell.speedup || !may_show_times(cell)) continue;
    ++summary.timed;
    log_speedup.median += std::log(cell.speedup->median);
    log_speedup.low += std::log(cell.speedup->low);
    log_speedup.high += std::log(cell.speedup->high);
    const double value = cell.speedup->median;
    if (!summary.slowest || value < summary.slowest->value) summary.slowest = Summary::Extreme{value, cell.index};
    if (!summary.fastest || value > summary.fastest->value) summary.fastest = Summary::Extreme{value, cell.index};
    if (!cell.speedup_verdict.empty()) count(summary.speedup_verdicts, cell.speedup_verdict);
  }
  if (report.geometric_mean_speedup) {
    summary.speedup = report.geometric_mean_speedup;
  } else if (summary.timed > 0) {
    // As though all cells erred to the same side at once: wider than a joint bootstrap, never narrower.
    const double n = summary.timed;
    summary.speedup =
        Interval{std::exp(log_speedup.median / n), std::exp(log_speedup.low / n), std::exp(log_speedup.high / n), {}};
  }
  std::ranges::stable_sort(summary.reasons, {}, [](const Summary::Reason& reason) {
    return std::ranges::find(kVerdicts, reason.verdict) - kVerdicts.begin();
  });
  summary.promises = static_cast<int>(report.promises.size());
  summary.promises_held = static_cast<int>(std::ranges::count_if(report.promises, &PromiseRow::holds));
  return summary;
}

std::string summary_text(const Summary& summary) {
  std::string text = "cells:   ";
  std::string separator;
  for (const auto& [verdict, cells] : summary.verdicts) {
    if (cells == 0) continue;
    text += fmt::format("{}{} {}", separator, cells, verdict);
    separator = ", ";
  }
  text += summary.cells == 0 ? "none\n" : "\n";
  for (const auto& [verdict, reason, cells] : summary.reasons) {
    text += fmt::format("         {} (cell {}{}): {}\n", verdict, cells.front(),
                        cells.size() > 1 ? fmt::format(" and {} more", cells.size() - 1) : "", reason);
  }
  if (summary.speedup) {
    text += fmt::format("speed:   {} times the reference's over {} cells (slowest {}, fastest {})\n",
                        interval_text(*summary.speedup), summary.timed, number_text(summary.slowest->value, 3),
                        number_text(summary.fastest->value, 3));
  } else {
    text += "speed:   no cell was timed\n";
  }
  for (const auto& [metric, cell] : summary.worst_metrics) {
    text += fmt::format("{:<8} worst {} in cell {}", metric.name + ":", number_text(metric.value, 7), cell);
    if (metric.bound) {
      text += fmt::format(", bound {}, {} of the tolerance used", number_text(*metric.bound, 7),
                          percent_text(metric.budget_used));
    }
    text += '\n';
  }
  for (const auto& [implementation, host, device] : summary.peaks) {
    text += fmt::format("memory:  {} peak {}{}\n", implementation, bytes_text(host),
                        device > 0 ? fmt::format(", {} on the device", bytes_text(device)) : "");
  }
  if (summary.promises > 0) {
    text += fmt::format("promises: {} of {} hold\n", summary.promises_held, summary.promises);
  }
  return text;
}

}  // namespace i2i
