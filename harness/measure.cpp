#include "harness/measure.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

#include "harness/statistics.h"
#include "optimized/cuda/backend.h"

namespace i2i {
namespace {

// A line such as "VmHWM:     123 kB" of /proc/self/status, in bytes; 0 where it is missing.
std::int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == field + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

/// Pages of mapped files, nameless ones in memory among them.
std::int64_t mapped_bytes() { return status_bytes("RssFile") + status_bytes("RssShmem"); }

}  // namespace

std::int64_t peak_resident_bytes() { return status_bytes("VmHWM"); }

PeakMemory::PeakMemory() {
  malloc_trim(0);  // what earlier runs freed would otherwise hide this run's need
  std::ofstream("/proc/self/clear_refs") << "5";
  resident_at_start_ = status_bytes("VmRSS");
  mapped_at_start_ = mapped_bytes();
}

std::int64_t PeakMemory::added_bytes() const {
  return std::max<std::int64_t>(0, status_bytes("VmHWM") - resident_at_start_ - (mapped_bytes() - mapped_at_start_));
}

std::int64_t PeakMemory::kept_bytes() const {
  malloc_trim(0);
  return status_bytes("VmRSS") - resident_at_start_ - (mapped_bytes() - mapped_at_start_);
}

PeakDeviceMemory::PeakDeviceMemory(CudaBackend* gpu) : gpu_(gpu) {
  if (gpu_ == nullptr) return;
  gpu_->watch_peak();
  allocated_at_start_ = gpu_->memory().allocated_bytes;
}

std::int64_t PeakDeviceMemory::added_bytes() const {
  return gpu_ == nullptr ? 0 : gpu_->memory().peak_bytes - allocated_at_start_;
}

std::int64_t PeakDeviceMemory::kept_bytes() const {
  return gpu_ == nullptr ? 0 : gpu_->memory().allocated_bytes - allocated_at_start_;
}

ImplementationRow summarize_runs(const std::string& implementation, const std::vector<Result>& runs) {
  ImplementationRow row;
  row.implementation = implementation;
  std::vector<double> totals;
  std::vector<std::pair<std::string, int>> order;
  std::map<std::pair<std::string, int>, std::vector<double>> stages;
  for (const Result& run : runs) {
    totals.push_back(run.total_ms);
    // A stage that runs in several parts within a step (source and condition, say) counts as their sum.
    std::map<std::pair<std::string, int>, double> sums;
    for (const StageTime& stage : run.stages) {
      const std::pair<std::string, int> key{stage.name, stage.step};
      if (stages.find(key) == stages.end() && sums.find(key) == sums.end()) order.push_back(key);
      sums[key] += stage.ms;
    }
    for (const auto& [key, ms] : sums) stages[key].push_back(ms);
  }
  row.total_ms = median_interval(totals);
  for (const auto& key : order) row.stages.push_back({key.first, key.second, median_interval(stages[key])});
  return row;
}

}  // namespace i2i
