// What a run costs: working memory of the process, and stage times gathered over repetitions.
#pragma once

#include <cstdint>
#include <vector>

#include "interface/pipeline.h"
#include "reports/report.h"

namespace i2i {

class CudaBackend;

/// Peak of the process's resident memory above what was resident when the watch began. Uses Linux's own counter
/// (/proc/self/clear_refs 5 resets VmHWM), so it sees every allocator. Pages of mapped files do not count: the system
/// drops and reads them as it likes, and implementations share them.
class PeakMemory {
 public:
  PeakMemory();
  /// Bytes above the start, less what was mapped since: a peak before that may be larger. 0 where the kernel does not
  /// let the counter be reset.
  std::int64_t added_bytes() const;
  /// Bytes above the start that are still held now, after free memory was given back to the system; may be negative.
  std::int64_t kept_bytes() const;

 private:
  std::int64_t resident_at_start_ = 0, mapped_at_start_ = 0;
};

/// The same of a GPU's memory, as libtorch's allocator hands it out to both implementations. Without a GPU (null) all
/// is 0.
class PeakDeviceMemory {
 public:
  explicit PeakDeviceMemory(CudaBackend* gpu);
  std::int64_t added_bytes() const;
  std::int64_t kept_bytes() const;

 private:
  CudaBackend* gpu_;
  std::int64_t allocated_at_start_ = 0;
};

/// Resident memory of the process at its highest so far; mapped checkpoint files count as far as they were read.
std::int64_t peak_resident_bytes();

/// The results of all timed runs of one implementation -> one row: total and every stage with its interval.
ImplementationRow summarize_runs(const std::string& implementation, const std::vector<Result>& runs);

}  // namespace i2i
