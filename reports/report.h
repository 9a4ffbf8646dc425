// What a report is made of: plain rows, filled by the harness. Writers see nothing else, and compute no statistics of
// their own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace i2i {

/// A measured quantity: median and a bootstrap interval of it, with the raw samples it came from.
struct Interval {
  double median = 0;
  double low = 0;   ///< 2.5 % of the bootstrap distribution
  double high = 0;  ///< 97.5 %
  std::vector<double> samples;
};

/// One stage of one implementation; stages that run once per step have one row per step.
struct StageRow {
  std::string name;  ///< preprocess, encode_prompt, vae_encode, unet, scheduler_step, vae_decode, postprocess
  int step = -1;
  Interval ms;
};

/// One operator within one stage, from runs of their own in which operators were timed.
struct OperatorRow {
  std::string stage;
  int step = -1;
  std::string name;  ///< as its library calls it: "i2i::linear", "aten::conv2d"
  std::string kind;  ///< convolution, linear, attention, normalization, other: comparable between implementations
  int calls = 0;
  Interval ms;          ///< of all calls together
  double gflop = 0;     ///< what their formulas ask for, from the shapes of the calls; 0 where that is not known
  double least_ms = 0;  ///< what this machine's measured roofline allows them; 0 where that is not known
};

/// What one implementation cost in one cell.
struct ImplementationRow {
  std::string implementation;  ///< "reference" or "optimized"
  Interval total_ms;           ///< warm; empty samples where the cell failed its check
  double cold_ms = 0;          ///< the first run
  std::vector<StageRow> stages;
  std::vector<OperatorRow> operators;  ///< empty where nothing was profiled
  std::int64_t peak_host_bytes = 0;
  std::int64_t peak_device_bytes = 0;  ///< 0 without a GPU
};

/// One compared number, with the bound it was held to.
struct MetricRow {
  std::string name;  ///< ssim, lpips, psnr, latents_max_abs
  double value = 0;
  std::optional<double> bound;  ///< absent: shown, not judged
  bool higher_is_better = false;
  double budget_used = 0;  ///< share of the tolerance spent, 1 = all of it
  bool passed = true;
};

/// One cell of a sweep.
struct CellRow {
  int index = 0;
  std::vector<std::pair<std::string, std::string>> axes;  ///< axis name -> value, in the sweep's order
  std::string verdict;                                    ///< passed, failed, skipped, unsupported, mistrusted
  std::string reason;                                     ///< for every verdict but passed
  std::vector<MetricRow> metrics;
  std::vector<double> latents_drift;  ///< largest latent difference after each step, free-running
  std::vector<ImplementationRow> implementations;
  std::optional<Interval> speedup;  ///< reference / optimized, paired
  std::string speedup_verdict;      ///< faster, slower, same, ambiguous
  std::string source_png;           ///< PNG bytes; empty where none
  std::string reference_png;
  std::string optimized_png;
  std::vector<std::string> warnings;
  std::string command;  ///< repeats this one cell
};

/// One promise of the action, measured: a quantity over values of one parameter, and whether it moves as promised.
struct PromiseRow {
  std::string promise;    ///< in words
  std::string parameter;  ///< the request field that is varied
  std::string quantity;   ///< what is measured, with its unit
  std::vector<std::string> values;
  std::vector<Interval> measured;  ///< one per value, over seeds
  std::string expectation;         ///< "rises", "falls", ">= 0.8 at 7.5", ...
  bool holds = false;
};

struct Report {
  std::string title;
  std::string command;  ///< the command that made it
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::pair<std::string, std::vector<std::string>>> axes;  ///< every axis with its values, in order
  std::vector<CellRow> cells;
  std::vector<PromiseRow> promises;
  /// Geometric mean over the timed cells; where absent, summarize() takes the geometric means of the cells' interval
  /// ends.
  std::optional<Interval> geometric_mean_speedup;
  std::vector<std::string> notes;  ///< sentences for the reader: work shared by cells, clocks that moved, runs resumed
};

/// A writer turns a report into the bytes of one file.
struct ReportWriter {
  std::string_view format;     ///< as in `i2i report --format`
  std::string_view file_name;  ///< "report.html", ...
  std::string (*write)(const Report&);
};

/// Every writer, one line each in reports.inc.
const std::vector<ReportWriter>& report_writers();

}  // namespace i2i
