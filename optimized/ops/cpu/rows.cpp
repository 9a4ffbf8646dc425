#include "optimized/ops/cpu/rows.h"

#include <c10/util/Exception.h>

#include <memory>
#include <new>

#include "optimized/ops/cpu/kernels.h"

namespace i2i::cpu {

Rows rows_of(const at::Tensor& tensor, const char* what) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat, what, ": float32 wanted, got ", tensor.scalar_type());
  auto* data = static_cast<float*>(tensor.data_ptr());
  if (tensor.dim() == 4) {
    TORCH_CHECK(tensor.is_contiguous(at::MemoryFormat::ChannelsLast), what, ": channels-last memory wanted, got ",
                tensor.sizes(), " with strides ", tensor.strides());
    return {data, tensor.size(0) * tensor.size(2) * tensor.size(3), tensor.size(1), tensor.size(0)};
  }
  TORCH_CHECK(tensor.dim() >= 1 && tensor.is_contiguous(), what, ": contiguous memory wanted, got ", tensor.sizes(),
              " with strides ", tensor.strides());
  const std::int64_t width = tensor.size(-1);
  return {data, width == 0 ? 0 : tensor.numel() / width, width, tensor.size(0)};
}

const float* optional_floats(const std::optional<at::Tensor>& tensor, std::int64_t numel, const char* what) {
  if (!tensor.has_value() || !tensor->defined()) return nullptr;
  TORCH_CHECK(tensor->scalar_type() == at::kFloat && tensor->numel() == numel && tensor->is_contiguous(), what, ": ",
              numel, " contiguous floats wanted, got ", tensor->sizes());
  return static_cast<const float*>(tensor->const_data_ptr());
}

std::int64_t panel_width_for(std::int64_t columns) {
  // Narrow panels reuse an element of `a` less: measured per column, 16 costs about an eighth more than 48 or 64.
  constexpr struct {
    std::int64_t width;
    double cost;
  } kChoices[] = {{64, 1.0}, {48, 1.0}, {32, 1.04}, {16, 1.12}};
  std::int64_t best = 64;
  double best_cost = 1e300;
  for (const auto& choice : kChoices) {
    const double cost = static_cast<double>(round_up(columns, choice.width)) * choice.cost;
    if (cost < best_cost) {
      best = choice.width;
      best_cost = cost;
    }
  }
  return best;
}

float* thread_scratch(int slot, std::int64_t count) {
  struct Slot {
    std::unique_ptr<float[], void (*)(float*)> floats{nullptr,
                                                      [](float* p) { ::operator delete[](p, std::align_val_t{64}); }};
    std::int64_t capacity = 0;
  };
  thread_local Slot slots[4];
  Slot& mine = slots[slot];
  if (mine.capacity < count) {
    mine.floats.reset();
    mine.capacity = 0;
    const auto bytes = static_cast<std::size_t>(count) * sizeof(float) + kRowSlack;
    mine.floats.reset(static_cast<float*>(::operator new[](bytes, std::align_val_t{64})));
    mine.capacity = count;
  }
  return mine.floats.get();
}

}  // namespace i2i::cpu
