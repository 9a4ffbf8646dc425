// Sinks for what a pipeline shows of itself: everything for --dump and comparisons, or only what a cell's drift needs.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "interface/pipeline.h"

namespace i2i {

/// Keeps copies of the tensors whose names `wanted` accepts, in the order in which names first appear.
class CollectingTrace : public TraceSink {
 public:
  using Wanted = std::function<bool(std::string_view)>;
  explicit CollectingTrace(Wanted wanted = [](std::string_view) { return true; }) : wanted_(std::move(wanted)) {}

  void tensor(std::string_view name, int step, const at::Tensor& value) override;

  /// {name, tensor}; "loop.*" stacked along a new first dimension, one entry a step. Where steps differ in their rows
  /// (guidance on an interval), each stands alone: "loop.unet_in.00", "loop.unet_in.01", ...
  std::vector<std::pair<std::string, at::Tensor>> stacked() const;

  /// Of all tensors together.
  std::int64_t bytes() const;

  /// The tensors of one name, in order; empty where there are none.
  const std::vector<at::Tensor>& of(std::string_view name) const;

 private:
  Wanted wanted_;
  std::vector<std::pair<std::string, std::vector<at::Tensor>>> tensors_;
};

}  // namespace i2i
