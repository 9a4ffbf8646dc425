#include "harness/profile_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/operator_work.h"

namespace i2i {
namespace {

struct Line {
  std::string name;
  OperatorTime time;
  std::string note;
};

std::string bar(double share) {
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(std::lround(kWidth * std::clamp(share, 0.0, 1.0)));
  std::string text;
  for (int i = 0; i < kWidth; ++i) text += i < filled ? "█" : "·";
  return text;
}

/// Lines of a table, the dearest first; those below a thousandth of all time are left out.
std::string table(const std::string& title, std::vector<Line> lines, double total) {
  std::ranges::sort(lines, [](const Line& a, const Line& b) { return a.time.ms > b.time.ms; });
  std::string text = fmt::format("\n  {:<44} {:>7} {:>10} {:>7} {:24} {:>9} {:>9}\n", title, "calls", "ms", "share", "",
                                 "GFLOP/s", "roofline");
  for (const Line& line : lines) {
    if (line.time.ms < total / 1000) break;
    const double share = line.time.ms / total;
    text += fmt::format("  {:<44} {:>7} {:>10.2f} {:>6.1f}% {} {:>9} {:>9}{}\n", line.name, line.time.calls,
                        line.time.ms, 100 * share, bar(share),
                        line.time.flops > 0 ? fmt::format("{:.1f}", line.time.flops / line.time.ms / 1e6) : "",
                        line.time.least_ms > 0 ? fmt::format("{:.0f}%", 100 * line.time.least_ms / line.time.ms) : "",
                        line.note.empty() ? "" : "  " + line.note);
  }
  return text;
}

}  // namespace

std::string profile_text(const OperatorTimes& times, const Roofline& roofline) {
  std::map<std::string, OperatorTime> stages, blocks, operators;
  double total = 0;
  for (const auto& [key, time] : times) {
    stages[key.stage] += time;
    blocks[key.stage + " " + (key.block.empty() ? "(outside blocks)" : key.block)] += time;
    operators[key.stage + " " + key.name] += time;
    total += time.ms;
  }
  const auto lines = [](const std::map<std::string, OperatorTime>& sums) {
    std::vector<Line> all;
    for (const auto& [name, time] : sums) {
      const auto space = name.rfind(' ');
      all.push_back({name, time, space == std::string::npos ? "" : operator_kind(name.substr(space + 1))});
      if (all.back().note == "other") all.back().note.clear();
    }
    return all;
  };
  std::string text = fmt::format(
      "  this machine, {} thread{}: {:.0f} GFLOP/s in float32, {} {} {:.1f} GB/s from memory\n", roofline.threads,
      roofline.threads == 1 ? "" : "s", roofline.fp32_gflops,
      roofline.bf16_gflops > 0 ? fmt::format("{:.0f} in bfloat16,", roofline.bf16_gflops) : "no products of bfloat16,",
      roofline.int8_gops > 0 ? fmt::format("{:.0f} GOP/s in int8,", roofline.int8_gops) : "no int8 dot products,",
      roofline.gigabytes_per_s);
  text += table("stage", lines(stages), total);
  text += table("block", lines(blocks), total);
  text += table("operator", lines(operators), total);
  return text +
         "  GFLOP/s: what the formulas ask for. roofline: the least time for the arithmetic of the method (Winograd's\n"
         "  is a quarter of its formula's) or for its memory traffic, whichever is more, as a share of the time "
         "taken.\n";
}

}  // namespace i2i
