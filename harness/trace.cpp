#include "harness/trace.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

namespace i2i {

void CollectingTrace::tensor(std::string_view name, int /*step*/, const at::Tensor& value) {
  if (!wanted_(name)) return;
  auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& entry) { return entry.first == name; });
  if (found == tensors_.end()) found = tensors_.insert(tensors_.end(), {std::string(name), {}});
  found->second.push_back(value.detach().to(at::kCPU).contiguous().clone());
}

std::vector<std::pair<std::string, at::Tensor>> CollectingTrace::stacked() const {
  std::vector<std::pair<std::string, at::Tensor>> result;
  for (const auto& [name, values] : tensors_) {
    const at::IntArrayRef sizes = values.front().sizes();
    const bool alike =
        std::all_of(values.begin(), values.end(), [&](const at::Tensor& value) { return value.sizes() == sizes; });
    if (!name.starts_with("loop.")) {
      result.emplace_back(name, values.front());
    } else if (alike) {
      result.emplace_back(name, at::stack(values));
    } else {
      for (std::size_t i = 0; i < values.size(); ++i) result.emplace_back(fmt::format("{}.{:02}", name, i), values[i]);
    }
  }
  return result;
}

std::int64_t CollectingTrace::bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, values] : tensors_) {
    for (const at::Tensor& value : values) total += static_cast<std::int64_t>(value.nbytes());
  }
  return total;
}

const std::vector<at::Tensor>& CollectingTrace::of(std::string_view name) const {
  static const std::vector<at::Tensor> none;
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& entry) { return entry.first == name; });
  return found == tensors_.end() ? none : found->second;
}

}  // namespace i2i
