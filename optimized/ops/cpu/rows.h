// How the CPU operators see a tensor: rows of channels in plain float32 memory. Called by ops/cpu/*.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace i2i::cpu {

/// [N,C,H,W] in channels-last memory, or [..., C] contiguous: `count` rows of `width` floats each, without gaps.
struct Rows {
  float* data;
  std::int64_t count;
  std::int64_t width;
  std::int64_t images;  ///< the first dimension
};

/// @throws c10::Error (an internal mistake, never a user's) where dtype or memory layout is another
Rows rows_of(const at::Tensor& tensor, const char* what);

/// The pointer of an optional contiguous float32 tensor, null where there is none.
const float* optional_floats(const std::optional<at::Tensor>& tensor, std::int64_t numel, const char* what);

/// The panel width that wastes least for so many columns; wide panels win ties, since they read `a` less often.
std::int64_t panel_width_for(std::int64_t columns);

inline std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

/// Floats of the calling thread's own, at least `count` and kRowSlack bytes, 64-byte aligned; overwritten by the next
/// call with the same slot.
float* thread_scratch(int slot, std::int64_t count);

}  // namespace i2i::cpu
