// Where the time goes inside a stage: every operator of one run with its calls and milliseconds, for either
// implementation, seen through libtorch's own observers. Off, it costs nothing; on, it costs two clock reads an
// operator, so profiled runs are runs of their own and never the timed ones. Called by the runner and `i2i run
// --profile`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "reports/report.h"

namespace i2i {

/// What one operator cost in one executed stage of one run.
struct OperatorTime {
  int calls = 0;
  double ms = 0;
};

/// Observes this thread's operators while it lives. One at a time per thread.
class OperatorProfile {
 public:
  using Key = std::tuple<std::string, int, std::string>;  ///< stage, executed step or -1, operator

  OperatorProfile();
  ~OperatorProfile();
  OperatorProfile(const OperatorProfile&) = delete;
  OperatorProfile& operator=(const OperatorProfile&) = delete;

  /// Operators called from a stage itself; what an operator calls in turn is part of it. The rest of each stage's time
  /// stands under the operator "(between operators)".
  std::map<Key, OperatorTime> times() const;

 private:
  struct Observer;
  std::uint64_t callback_ = 0;
  std::map<Key, OperatorTime> times_;
  std::map<std::pair<std::string, int>, double> stage_ms_;
};

/// One row a stage, step and operator, with the interval over several profiled runs.
std::vector<OperatorRow> summarize_profiles(const std::vector<std::map<OperatorProfile::Key, OperatorTime>>& runs);

/// convolution, linear, attention, normalization or other: what makes two implementations' operators comparable.
std::string operator_kind(const std::string& name);

}  // namespace i2i
