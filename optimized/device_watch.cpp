#include "optimized/device_watch.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "interface/error.h"

namespace i2i {

void check_finite(const at::Tensor& tensor, const std::string& stage) {
  const at::Tensor values =
      tensor.is_contiguous() || tensor.is_contiguous(at::MemoryFormat::ChannelsLast) ? tensor : tensor.contiguous();
  const auto* data = static_cast<const float*>(values.const_data_ptr());
  float sum = 0;  // x * 0 is 0 for every finite x and NaN for all others
  for (std::int64_t i = 0; i < values.numel(); ++i) sum += data[i] * 0.0f;
  if (sum == 0.0f) return;
  const std::int64_t bad = values.numel() - at::isfinite(values).sum().item<std::int64_t>();
  throw Error(ErrorCode::kGenerationFailed,
              fmt::format("{}: {} of {} values are NaN or infinite", stage, bad, values.numel()));
}

void DeviceWatch::start() {
  unchecked_.clear();
  marks_.clear();
  if (backend_ == nullptr) return;
  backend_->forget_marks();
  substitutes_before_ = backend_->substitutes();
}

void DeviceWatch::finish(Result& result) {
  if (backend_ == nullptr) return;
  read_marks(result.stages);
  note_substitutes(result.warnings);
}

int DeviceWatch::mark() { return backend_ == nullptr ? 0 : backend_->mark(); }

void DeviceWatch::stage_ended(std::size_t stage, int from) {
  if (backend_ != nullptr) marks_.push_back({stage, from, backend_->mark()});
}

void DeviceWatch::check_finite_later(const at::Tensor& tensor, const std::string& stage) {
  if (backend_ == nullptr) {
    check_finite(tensor, stage);
  } else {
    unchecked_.emplace_back(stage, at::isfinite(tensor).logical_not().sum());
  }
}

void DeviceWatch::check_finite_now() {
  if (unchecked_.empty()) return;
  std::vector<at::Tensor> counts;
  for (const auto& [stage, count] : unchecked_) counts.push_back(count);
  const at::Tensor bad = at::stack(counts).cpu();
  for (std::size_t i = 0; i < unchecked_.size(); ++i) {
    if (const auto count = bad[static_cast<std::int64_t>(i)].item<std::int64_t>(); count > 0) {
      const std::string stage = unchecked_[i].first;
      unchecked_.clear();
      throw Error(ErrorCode::kGenerationFailed, fmt::format("{}: {} values are NaN or infinite", stage, count));
    }
  }
  unchecked_.clear();
}

std::string DeviceWatch::free_memory() const {
  if (backend_ == nullptr) return "";
  const DeviceMemory memory = backend_->memory();
  return fmt::format(" ({} of {} MiB were free)", memory.free_bytes >> 20, memory.total_bytes >> 20);
}

void DeviceWatch::read_marks(std::vector<StageTime>& stages) {
  for (const auto& [stage, from, to] : marks_) stages[stage].ms = backend_->milliseconds_between(from, to);
  marks_.clear();
  backend_->forget_marks();
}

/// A kernel that has not the model's shape is replaced, and that is said. A replayed graph calls no operator, so what
/// earlier requests met counts too.
void DeviceWatch::note_substitutes(std::vector<std::string>& warnings) {
  for (const auto& [what, calls] : backend_->substitutes()) {
    const auto known = substitutes_before_.find(what);
    if (known == substitutes_before_.end() || calls > known->second) substituted_.insert(what);
  }
  for (const std::string& what : substituted_)
    warnings.push_back(fmt::format("no CUDA kernel has the shape of {}: ATen computes it", what));
}

}  // namespace i2i
