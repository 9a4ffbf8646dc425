// The first screen of every report: how much faster, how different, how much memory, and which cells did not pass.
// Counts, extremes and one geometric mean over the rows; intervals are the harness's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reports/report.h"

namespace i2i {

struct Summary {
  /// A number and the index of the cell that it comes from.
  struct Extreme {
    double value = 0;
    int cell = 0;
  };
  /// The worst value that a metric takes in any cell.
  struct WorstMetric {
    MetricRow metric;
    int cell = 0;
  };
  /// Why cells did not pass, equal reasons counted once; loudest verdict first.
  struct Reason {
    std::string verdict;
    std::string reason;
    std::vector<int> cells;
  };
  struct Peak {
    std::string implementation;
    std::int64_t host_bytes = 0;
    std::int64_t device_bytes = 0;
  };

  int cells = 0;
  int timed = 0;                                      ///< cells with a speedup
  std::vector<std::pair<std::string, int>> verdicts;  ///< failed, mistrusted, unsupported, skipped, passed: all five
  std::vector<Reason> reasons;
  std::optional<Interval> speedup;  ///< geometric mean over the timed cells
  std::optional<Extreme> slowest;   ///< smallest speedup of a cell
  std::optional<Extreme> fastest;
  std::vector<std::pair<std::string, int>> speedup_verdicts;  ///< faster, slower, same, ambiguous: those that occur
  std::vector<WorstMetric> worst_metrics;                     ///< one per metric name, in order of appearance
  std::optional<Extreme> largest_budget;                      ///< share of a tolerance, over all judged metrics
  std::vector<Peak> peaks;                                    ///< largest over all cells
  int promises = 0;
  int promises_held = 0;
};

Summary summarize(const Report& report);

/// The same in a few lines of plain text, for the end of a sweep in a terminal.
std::string summary_text(const Summary& summary);

}  // namespace i2i
