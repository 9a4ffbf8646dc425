#include "harness/store_comparison.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>

#include "harness/metrics/metric.h"
#include "harness/statistics.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

constexpr double kSeenSsim = 0.999, kSeenLpips = 0.001;  // what an fp32 cell of a sweep is held to
constexpr std::int64_t kLpipsSide = 32;                  // pictures below it have no LPIPS: SSIM decides alone
// An operator's change is named only if it moves the whole cell by this share.
constexpr double kWorthNaming = 0.002;

std::string key_of(const CellRow& row) {
  std::string key;
  for (const auto& [name, value] : row.axes) key += fmt::format("{}{}={}", key.empty() ? "" : " ", name, value);
  return key;
}

const ImplementationRow* timed_side(const CellRow& row, const std::string& name) {
  for (const ImplementationRow& side : row.implementations) {
    if (side.implementation == name && !side.total_ms.samples.empty()) return &side;
  }
  return nullptr;
}

// a / b with the widest interval that both medians' intervals allow.
Interval ratio_of(const Interval& a, const Interval& b) {
  return {a.median / b.median, a.low / b.high, a.high / b.low, b.samples};
}

Interval product_of(const Interval& a, const Interval& b) {
  return {a.median * b.median, a.low * b.low, a.high * b.high, a.samples};
}

at::Tensor pixels_of(const std::string& png) {
  const Image image =
      decode_image(std::span(reinterpret_cast<const std::uint8_t*>(png.data()), png.size()), "a stored picture");
  return at::tensor(at::ArrayRef<std::uint8_t>(image.rgb.data(), image.rgb.size()), at::kByte)
             .view({image.height, image.width, 3})
             .to(at::kFloat) /
         255;
}

std::optional<PictureDrift> drift_between(const std::string& before, const std::string& after) {
  if (before.empty() || after.empty()) return std::nullopt;
  PictureDrift drift;
  if (before == after) {
    drift.identical = true;
    return drift;
  }
  const at::Tensor a = pixels_of(before), b = pixels_of(after);
  drift.identical = at::equal(a, b);
  if (drift.identical) return drift;
  const bool comparable = a.sizes() == b.sizes();
  drift.ssim = comparable ? ssim(a, b) : 0;
  const bool large_enough = std::min(a.size(0), a.size(1)) >= kLpipsSide;
  drift.lpips = !comparable ? INFINITY : large_enough ? lpips_alex(a, b) : 0;
  drift.seen = !(drift.ssim >= kSeenSsim && drift.lpips <= kSeenLpips);
  return drift;
}

using OperatorKey = std::tuple<std::string, int, std::string>;  // stage, step or -1 for all, name

// Each operator step by step, and all steps together under step -1.
std::map<OperatorKey, Interval> operator_times(const ImplementationRow& side) {
  std::map<OperatorKey, Interval> times;
  std::map<OperatorKey, std::vector<double>> sums;
  for (const OperatorRow& row : side.operators) {
    if (row.step >= 0) times[{row.stage, row.step, row.name}] = row.ms;
    std::vector<double>& sum = sums[{row.stage, -1, row.name}];
    sum.resize(row.ms.samples.size());
    for (std::size_t run = 0; run < sum.size(); ++run) sum[run] += row.ms.samples[run];
  }
  for (const auto& [key, samples] : sums) times[key] = median_interval(samples);
  return times;
}

std::vector<OperatorChange> changed_operators(const ImplementationRow& before, const ImplementationRow& after,
                                              const Interval& machine, double margin) {
  const auto known = operator_times(before), now = operator_times(after);
  std::vector<OperatorChange> changes;
  for (const auto& [key, time] : now) {
    const auto found = known.find(key);
    if (found == known.end() || !(time.low > 0) || !(found->second.low > 0)) continue;
    const auto& [stage, step, name] = key;
    OperatorChange change{stage, step, name, found->second.median, time.median, {}, ""};
    change.ratio = product_of(ratio_of(found->second, time), machine);
    change.verdict = judge_ratio(change.ratio, margin);
    const bool moved = change.verdict == "faster" || change.verdict == "slower";
    if (moved && std::abs(time.median - found->second.median * machine.median) > kWorthNaming * after.total_ms.median)
      changes.push_back(change);
  }
  // A step is worth a line only where its operator as a whole did not change, or changed the other way.
  const std::vector<OperatorChange> all = changes;
  std::erase_if(changes, [&](const OperatorChange& step) {
    return step.step >= 0 && std::any_of(all.begin(), all.end(), [&](const OperatorChange& whole) {
             return whole.step < 0 && whole.stage == step.stage && whole.name == step.name &&
                    whole.verdict == step.verdict;
           });
  });
  std::sort(changes.begin(), changes.end(), [](const OperatorChange& a, const OperatorChange& b) {
    return std::abs(a.after_ms - a.before_ms) > std::abs(b.after_ms - b.before_ms);
  });
  return changes;
}

CellComparison compare_cell(const CellRow* before, const CellRow& after, double margin) {
  CellComparison row;
  row.cell = key_of(after);
  if (before == nullptr) {
    row.verdict = "no baseline";
    return row;
  }
  row.drift = drift_between(before->optimized_png, after.optimized_png);
  if (after.verdict == "failed" && before->verdict != "failed") {
    row.verdict = "newly failed";
    return row;
  }
  const ImplementationRow *was = timed_side(*before, "optimized"), *is = timed_side(after, "optimized"),
                          *was_reference = timed_side(*before, "reference"),
                          *is_reference = timed_side(after, "reference");
  row.verdict = "not timed";
  if (was != nullptr && is != nullptr && before->speedup && after.speedup) {
    row.before_ms = was->total_ms.median;
    row.after_ms = is->total_ms.median;
    // Both timed the reference too: the ratio of speedups takes out what the machine did meanwhile.
    row.ratio = ratio_of(*after.speedup, *before->speedup);
    row.verdict = judge_ratio(row.ratio, margin);
    if (was_reference != nullptr && is_reference != nullptr) {
      const Interval machine = ratio_of(is_reference->total_ms, was_reference->total_ms);
      row.operators = changed_operators(*was, *is, machine, margin);
    }
  }
  if (row.drift && row.drift->seen) row.verdict = "drifted";
  return row;
}

}  // namespace

std::vector<CellComparison> compare_reports(const Report& before, const Report& after, double margin) {
  std::map<std::string, const CellRow*> known;
  for (const CellRow& row : before.cells) known[key_of(row)] = &row;
  std::vector<CellComparison> rows;
  for (const CellRow& row : after.cells) {
    const auto found = known.find(key_of(row));
    rows.push_back(compare_cell(found == known.end() ? nullptr : found->second, row, margin));
  }
  return rows;
}

}  // namespace i2i
