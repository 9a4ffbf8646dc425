// Two reports of the same sweep, before and after a change to the code: which cells got faster or slower, which
// operators made the difference, and whether the pictures moved. Called by `i2i compare`; reads nothing from disk
// itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reports/report.h"

namespace i2i {

/// One operator whose time changed. Ratios are before / after, corrected by what the reference did meanwhile.
struct OperatorChange {
  std::string stage;
  int step = -1;  ///< -1: all executed steps together
  std::string name;
  double before_ms = 0, after_ms = 0;
  Interval ratio;
  std::string verdict;  ///< faster or slower
};

/// How far the optimized implementation's pictures moved between the two.
struct PictureDrift {
  bool identical = false;
  double ssim = 1, lpips = 0;
  bool seen = false;  ///< beyond what an fp32 cell is held to: SSIM below 0.999 or LPIPS above 0.001
};

struct CellComparison {
  std::string cell;
  /// newly failed, drifted, slower, faster, same, ambiguous, not timed, no baseline; the worst that is true
  std::string verdict;
  double before_ms = 0, after_ms = 0;
  Interval ratio;
  std::optional<PictureDrift> drift;      ///< empty where a picture is missing
  std::vector<OperatorChange> operators;  ///< largest change in milliseconds first; empty where nothing was profiled
};

/// One entry for each cell of `after`, in its order. @param margin  a change below this share is no change
std::vector<CellComparison> compare_reports(const Report& before, const Report& after, double margin);

}  // namespace i2i
