// i2i compare: two stores of the same sweep, cell by cell: did the optimized implementation get slower or drift
// further?
#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "harness/commands/command.h"
#include "harness/statistics.h"
#include "harness/store.h"

namespace i2i {
namespace {

struct CompareCommand {
  std::string baseline, candidate;
  double margin = 0.05;
  bool strict = false, json = false;
};

struct Comparison {
  std::string cell;
  std::string verdict;  ///< faster, slower, same, ambiguous, newly failed, not timed, no baseline
  double baseline_ms = 0, candidate_ms = 0;
  Interval ratio;  ///< candidate's speedup over its own reference / baseline's over its own
};

std::string key_of(const CellRow& row) {
  std::string key;
  for (const auto& [name, value] : row.axes) key += fmt::format("{}{}={}", key.empty() ? "" : " ", name, value);
  return key;
}

const ImplementationRow* optimized_row(const CellRow& row) {
  for (const ImplementationRow& side : row.implementations) {
    if (side.implementation == "optimized" && !side.total_ms.samples.empty()) return &side;
  }
  return nullptr;
}

// Both stores timed the reference too: dividing by it takes out what the machine did meanwhile. The interval combines
// both sides' relative widths.
Interval speed_ratio(const CellRow& baseline, const CellRow& candidate) {
  Interval ratio;
  const Interval &a = *baseline.speedup, &b = *candidate.speedup;
  ratio.median = b.median / a.median;
  ratio.low = b.low / a.high;
  ratio.high = b.high / a.low;
  ratio.samples = b.samples;
  return ratio;
}

Comparison compare_cell(const CellRow* baseline, const CellRow& candidate, double margin) {
  Comparison row;
  row.cell = key_of(candidate);
  if (baseline == nullptr) {
    row.verdict = "no baseline";
    return row;
  }
  if (candidate.verdict == "failed" && baseline->verdict != "failed") {
    row.verdict = "newly failed";
    return row;
  }
  const ImplementationRow *before = optimized_row(*baseline), *after = optimized_row(candidate);
  if (before == nullptr || after == nullptr || !baseline->speedup || !candidate.speedup) {
    row.verdict = "not timed";
    return row;
  }
  row.baseline_ms = before->total_ms.median;
  row.candidate_ms = after->total_ms.median;
  row.ratio = speed_ratio(*baseline, candidate);
  row.verdict = judge_ratio(row.ratio, margin);
  return row;
}

int execute(const CompareCommand& command) {
  if (!std::filesystem::exists(command.baseline + "/results.sqlite")) {
    fmt::print(stderr, "there is no baseline at {}\n", command.baseline);
    return kNoBaseline;
  }
  const Report baseline = Store(command.baseline, Store::Mode::kReadOnly).report();
  const Report candidate = Store(command.candidate, Store::Mode::kReadOnly).report();
  std::map<std::string, const CellRow*> known;
  for (const CellRow& row : baseline.cells) known[key_of(row)] = &row;
  std::vector<Comparison> rows;
  std::map<std::string, int> counts;
  for (const CellRow& row : candidate.cells) {
    const auto found = known.find(key_of(row));
    rows.push_back(compare_cell(found == known.end() ? nullptr : found->second, row, command.margin));
    ++counts[rows.back().verdict];
  }
  if (command.json) {
    nlohmann::json array = nlohmann::json::array();
    for (const Comparison& row : rows) {
      array.push_back({{"cell", row.cell},
                       {"verdict", row.verdict},
                       {"baseline_ms", row.baseline_ms},
                       {"candidate_ms", row.candidate_ms},
                       {"ratio", row.ratio.median},
                       {"low", row.ratio.low},
                       {"high", row.ratio.high}});
    }
    fmt::print("{}\n", nlohmann::json{{"cells", array}, {"counts", counts}}.dump(2));
  } else {
    fmt::print("{:<60} {:>10} {:>10}  {:<24} {}\n", "cell", "before ms", "now ms", "speed, now / before", "verdict");
    for (const Comparison& row : rows) {
      const std::string ratio = row.ratio.samples.empty() ? ""
                                                          : fmt::format("{:.3f} [{:.3f}, {:.3f}]", row.ratio.median,
                                                                        row.ratio.low, row.ratio.high);
      fmt::print("{:<60} {:>10.2f} {:>10.2f}  {:<24} {}\n", row.cell, row.baseline_ms, row.candidate_ms, ratio,
                 row.verdict);
    }
    for (const auto& [verdict, count] : counts) fmt::print("{} {}\n", count, verdict);
  }
  if (counts["slower"] > 0 || counts["newly failed"] > 0) return kRegression;
  if (counts["no baseline"] == static_cast<int>(rows.size())) return kNoBaseline;
  if (command.strict && (counts["ambiguous"] > 0 || counts["no baseline"] > 0 || counts["not timed"] > 0))
    return kInconclusive;
  return kPass;
}

}  // namespace

void add_compare(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<CompareCommand>();
  CLI::App* compare = app.add_subcommand("compare", "two folders of results: did the candidate get slower or fail?");
  compare->add_option("BASELINE", command->baseline, "the --out folder of the sweep before")->required();
  compare->add_option("CANDIDATE", command->candidate, "the --out folder of the sweep now")->required();
  compare->add_option("--margin", command->margin, "a change below this share is no change")->capture_default_str();
  compare->add_flag("--strict", command->strict, "exit with 3 where the data decides nothing");
  compare->add_flag("--json", command->json, "print JSON");
  compare->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
