#include <fmt/format.h>
#include <fmt/ranges.h>

#include "harness/metrics/metric.h"
#include "interface/error.h"

namespace i2i {

const std::vector<Metric>& all_metrics() {
  static const std::vector<Metric> metrics = {
#define I2I_METRIC(name, function, higher_is_better) {#name, function, higher_is_better},
#include "harness/metrics/metrics.inc"
#undef I2I_METRIC
  };
  return metrics;
}

const Metric& metric_by_name(const std::string& name) {
  std::vector<std::string> known;
  for (const Metric& metric : all_metrics()) {
    if (metric.name == name) return metric;
    known.push_back(metric.name);
  }
  throw Error(ErrorCode::kUsage, fmt::format("there is no metric '{}'; known: {}", name, fmt::join(known, ", ")));
}

}  // namespace i2i
