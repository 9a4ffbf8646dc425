// Where the time goes inside a stage: every operator of one run with its calls, milliseconds and work, block by block,
// for either implementation, seen through libtorch's own observers. Off, it costs nothing; on, it costs two clock reads
// an operator, so profiled runs are runs of their own and never the timed ones. Called by the runner and `i2i run
// --profile`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/roofline.h"
#include "reports/report.h"

namespace i2i {

/// What one operator cost in one block of one executed stage of one run.
struct OperatorTime {
  int calls = 0;
  double ms = 0;
  double flops = 0;     ///< of the formula, all calls together
  double least_ms = 0;  ///< by the roofline, summed over calls

  OperatorTime& operator+=(const OperatorTime& other);
};

/// Where an operator ran. Outside all blocks of its stage, `block` is empty.
struct OperatorKey {
  std::string stage;
  int step = -1;  ///< executed step, or -1
  std::string block;
  std::string name;
  auto operator<=>(const OperatorKey&) const = default;
};

using OperatorTimes = std::map<OperatorKey, OperatorTime>;

/// Observes this thread's operators while it lives. One at a time per thread.
class OperatorProfile {
 public:
  /// @param roofline  of this machine; without it no operator has a least time
  explicit OperatorProfile(const Roofline& roofline = {});
  ~OperatorProfile();
  OperatorProfile(const OperatorProfile&) = delete;
  OperatorProfile& operator=(const OperatorProfile&) = delete;

  /// Operators called from a stage itself; what an operator calls in turn is part of it. The rest of each block's and
  /// stage's time stands under the operator "(between operators)".
  OperatorTimes times() const;

 private:
  struct Observer;
  Roofline roofline_;
  std::uint64_t callback_ = 0;
  OperatorTimes times_;
  OperatorTimes ranges_;  ///< stages and blocks, with no operator's name
};

/// One row a stage, step and operator, its blocks together, with the interval over several profiled runs.
std::vector<OperatorRow> summarize_profiles(const std::vector<OperatorTimes>& runs);

}  // namespace i2i
