// Medians, bootstrap intervals and verdicts on ratios: what turns raw milliseconds into statements.
#pragma once

#include <string>
#include <vector>

#include "reports/report.h"

namespace i2i {

/// Median of a sample; 0 for an empty one.
double median(std::vector<double> values);

/// The median with its 95 % percentile-bootstrap interval (Efron & Tibshirani 1993, ch. 13), seeded, 2000 resamples.
Interval median_interval(const std::vector<double>& samples);

/// Median of the paired ratios numerator[i] / denominator[i]; pairs are resampled together, so what slows both cancels.
/// @throws std::invalid_argument where the lengths differ or are 0
Interval paired_ratio(const std::vector<double>& numerator, const std::vector<double>& denominator);

/// Geometric mean of several cells' ratios with a bootstrap over cells.
Interval geometric_mean(const std::vector<Interval>& ratios);

/// "faster" where the whole interval lies above 1 + margin, "slower" where it lies below 1 - margin, "same" where it
/// lies between the two, otherwise "ambiguous". A single pair is always ambiguous.
std::string judge_ratio(const Interval& ratio, double margin = 0.02);

}  // namespace i2i
