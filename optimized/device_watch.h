// What the pipeline learns of its device while a request runs: the time that stages took there, values that are not
// finite, kernels that ATen stood in for. A CPU says it at once; a GPU is asked only where the host waits for it
// anyway. Called by pipeline.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "interface/pipeline.h"
#include "optimized/cuda/backend.h"

namespace i2i {

/// @param tensor  fp32 on the CPU
/// @throws Error(kGenerationFailed) naming the stage, and how many of how many values are NaN or infinite
void check_finite(const at::Tensor& tensor, const std::string& stage);

class DeviceWatch {
 public:
  /// @param backend  of CUDA's kernels; null on a CPU, where marks do nothing
  explicit DeviceWatch(CudaBackend* backend) : backend_(backend) {}

  /// Before a request: forgets what is left of one that failed.
  void start();
  /// After it: the device's own times in place of the host's, and a warning for each kernel that was replaced.
  void finish(Result& result);

  /// A moment on the device's stream, for stage_ended.
  int mark();
  /// @param stage  its index in Result::stages
  /// @param from   the mark at which it began
  void stage_ended(std::size_t stage, int from);

  void stage_ended(std::size_t stage, int from, int to) { marks_.push_back({stage, from, to}); }

  /// On a CPU at once, as check_finite; otherwise by check_finite_now.
  void check_finite_later(const at::Tensor& tensor, const std::string& stage);
  /// @param count  0-dim int64: how many values of a stage were found not to be finite
  void check_count_later(const at::Tensor& count, const std::string& stage) { unchecked_.emplace_back(stage, count); }
  /// @throws Error(kGenerationFailed) naming the first stage that is not finite, and how many values
  void check_finite_now();
  /// Lets go of what check_finite_later keeps on the device.
  void forget_unchecked() { unchecked_.clear(); }

  /// " (5 of 40 MiB were free)"; nothing on a CPU.
  std::string free_memory() const;

 private:
  void read_marks(std::vector<StageTime>& stages);
  void note_substitutes(std::vector<std::string>& warnings);

  struct Marks {
    std::size_t stage;
    int from, to;
  };

  CudaBackend* backend_;
  std::vector<Marks> marks_;
  std::map<std::string, std::int64_t> substitutes_before_;     ///< the request
  std::set<std::string> substituted_;                          ///< in any request so far
  std::vector<std::pair<std::string, at::Tensor>> unchecked_;  ///< stage, and its count of values that are not finite
};

}  // namespace i2i
