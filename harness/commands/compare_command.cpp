// i2i compare: two stores of the same sweep, cell by cell: what got faster or slower, down to operators and steps, and
// did the pictures move?
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "harness/commands/command.h"
#include "harness/store.h"
#include "harness/store_comparison.h"

namespace i2i {
namespace {

struct CompareCommand {
  std::string baseline, candidate;
  double margin = 0.05;
  bool strict = false, json = false;
};

constexpr std::size_t kOperatorsNamed = 4;

std::string drift_words(const std::optional<PictureDrift>& drift) {
  if (!drift) return "no picture";
  if (drift->identical) return "identical";
  return fmt::format("SSIM {:.6g}, LPIPS {:.2g}", drift->ssim, drift->lpips);
}

std::string change_words(const OperatorChange& change) {
  const std::string where = change.step < 0 ? change.stage : fmt::format("{} step {}", change.stage, change.step + 1);
  const double percent = 100 * std::abs(change.ratio.median - 1);
  return fmt::format("{}: {} {:.0f} % {} [{:.2f}, {:.2f}], {:.3g} -> {:.3g} ms", where, change.name, percent,
                     change.verdict, change.ratio.low, change.ratio.high, change.before_ms, change.after_ms);
}

nlohmann::json to_json(const CellComparison& row) {
  nlohmann::json operators = nlohmann::json::array();
  for (const OperatorChange& change : row.operators) {
    operators.push_back({{"stage", change.stage},
                         {"step", change.step},
                         {"name", change.name},
                         {"before_ms", change.before_ms},
                         {"after_ms", change.after_ms},
                         {"ratio", change.ratio.median},
                         {"low", change.ratio.low},
                         {"high", change.ratio.high},
                         {"verdict", change.verdict}});
  }
  nlohmann::json drift;
  if (row.drift) {
    drift = {{"identical", row.drift->identical},
             {"ssim", row.drift->ssim},
             {"lpips", row.drift->lpips},
             {"seen", row.drift->seen}};
  }
  return {
      {"cell", row.cell},          {"verdict", row.verdict}, {"before_ms", row.before_ms}, {"after_ms", row.after_ms},
      {"ratio", row.ratio.median}, {"low", row.ratio.low},   {"high", row.ratio.high},     {"drift", drift},
      {"operators", operators}};
}

void print_table(const std::vector<CellComparison>& rows, const std::map<std::string, int>& counts) {
  fmt::print("{:<60} {:>10} {:>10}  {:<22} {:<26} {}\n", "cell", "before ms", "now ms", "speed, now / before",
             "picture", "verdict");
  for (const CellComparison& row : rows) {
    const std::string ratio = row.ratio.samples.empty() ? ""
                                                        : fmt::format("{:.3f} [{:.3f}, {:.3f}]", row.ratio.median,
                                                                      row.ratio.low, row.ratio.high);
    fmt::print("{:<60} {:>10.2f} {:>10.2f}  {:<22} {:<26} {}\n", row.cell, row.before_ms, row.after_ms, ratio,
               row.verdict == "no baseline" ? "" : drift_words(row.drift), row.verdict);
    for (std::size_t i = 0; i < std::min(kOperatorsNamed, row.operators.size()); ++i)
      fmt::print("    {}\n", change_words(row.operators[i]));
    if (row.operators.size() > kOperatorsNamed)
      fmt::print("    and {} smaller changes (--json has them)\n", row.operators.size() - kOperatorsNamed);
  }
  for (const auto& [verdict, count] : counts) fmt::print("{} {}\n", count, verdict);
}

int execute(const CompareCommand& command) {
  if (!std::filesystem::exists(command.baseline + "/results.sqlite")) {
    fmt::print(stderr, "there is no baseline at {}\n", command.baseline);
    return kNoBaseline;
  }
  const Report baseline = Store(command.baseline, Store::Mode::kReadOnly).report();
  const Report candidate = Store(command.candidate, Store::Mode::kReadOnly).report();
  const std::vector<CellComparison> rows = compare_reports(baseline, candidate, command.margin);
  std::map<std::string, int> counts;
  for (const CellComparison& row : rows) ++counts[row.verdict];
  if (command.json) {
    nlohmann::json array = nlohmann::json::array();
    for (const CellComparison& row : rows) array.push_back(to_json(row));
    fmt::print("{}\n", nlohmann::json{{"cells", array}, {"counts", counts}}.dump(2));
  } else {
    print_table(rows, counts);
  }
  if (counts["slower"] > 0 || counts["newly failed"] > 0 || counts["drifted"] > 0) return kRegression;
  if (counts["no baseline"] == static_cast<int>(rows.size())) return kNoBaseline;
  if (command.strict && (counts["ambiguous"] > 0 || counts["no baseline"] > 0 || counts["not timed"] > 0))
    return kInconclusive;
  return kPass;
}

}  // namespace

void add_compare(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<CompareCommand>();
  CLI::App* compare =
      app.add_subcommand("compare", "two folders of results: did the candidate get slower, drift or fail?");
  compare->add_option("BASELINE", command->baseline, "the --out folder of the sweep before")->required();
  compare->add_option("CANDIDATE", command->candidate, "the --out folder of the sweep now")->required();
  compare->add_option("--margin", command->margin, "a change below this share is no change")->capture_default_str();
  compare->add_flag("--strict", command->strict, "exit with 3 where the data decides nothing");
  compare->add_flag("--json", command->json, "print JSON");
  compare->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
