// How stage tensors leave the optimized pipeline for whoever traces it: always on the CPU, in fp32, and a copy.
#pragma once

#include <ATen/ATen.h>

#include <string_view>

#include "interface/pipeline.h"

namespace i2i {

/// @param trace  null: nothing is done
/// @param step   index of the executed step, or -1
inline void hand_out(TraceSink* trace, std::string_view name, int step, const at::Tensor& tensor) {
  if (trace != nullptr) trace->tensor(name, step, tensor.to(at::kCPU, at::kFloat).contiguous().clone());
}

}  // namespace i2i
