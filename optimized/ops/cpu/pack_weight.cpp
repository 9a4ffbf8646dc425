// Weights from checkpoint order to panels: [panels, taps * I, panel_width], zero beyond the last output channel. In
// bfloat16 pairs of inputs stand side by side, and an odd depth is filled up: [panels, pairs, panel_width, 2].
#include <ATen/ops/zeros.h>

#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {
namespace {

/// Where a panel holds input k of one of its columns.
struct FloatPanel {
  using Element = float;
  static constexpr at::ScalarType kType = at::kFloat;
  static std::int64_t rows(std::int64_t depth) { return depth; }
  static std::int64_t at(std::int64_t k, std::int64_t column, std::int64_t width) { return k * width + column; }
};
struct Bf16Panel {
  using Element = at::BFloat16;
  static constexpr at::ScalarType kType = at::kBFloat16;
  static std::int64_t rows(std::int64_t depth) { return round_up(depth, 2); }
  static std::int64_t at(std::int64_t k, std::int64_t column, std::int64_t width) {
    return (k / 2 * width + column) * 2 + k % 2;
  }
};

template <typename Panel>
at::Tensor pack(const at::Tensor& weight, bool geglu) {
  using Element = typename Panel::Element;
  const std::int64_t out = weight.size(0), in = weight.size(1),
                     taps = weight.dim() == 4 ? weight.size(2) * weight.size(3) : 1;
  const at::Tensor plain = weight.to(Panel::kType).contiguous();
  const auto* source = static_cast<const Element*>(plain.const_data_ptr());

  // With geglu each panel holds some values and then their gates, so that both meet in one block.
  const std::int64_t columns = geglu ? out / 2 : out;
  const std::int64_t width =
      geglu ? 2 * std::max<std::int64_t>(16, panel_width_for(columns) / 2 / 16 * 16) : panel_width_for(columns);
  const std::int64_t per_panel = geglu ? width / 2 : width;
  const std::int64_t panels = (columns + per_panel - 1) / per_panel, rows = Panel::rows(taps * in);
  at::Tensor packed = at::zeros({panels, rows, width}, Panel::kType);
  auto* target = static_cast<Element*>(packed.data_ptr());
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    for (std::int64_t j = 0; j < width; ++j) {
      const bool gate = geglu && j >= per_panel;
      const std::int64_t column = panel * per_panel + (gate ? j - per_panel : j);
      if (column >= columns) continue;
      const Element* row = source + (gate ? column + columns : column) * in * taps;
      for (std::int64_t i = 0; i < in; ++i) {
        for (std::int64_t tap = 0; tap < taps; ++tap)
          target[panel * rows * width + Panel::at(tap * in + i, j, width)] = row[i * taps + tap];
      }
    }
  }
  return packed;
}

}  // namespace

at::Tensor pack_weight(const at::Tensor& weight, bool geglu) {
  TORCH_CHECK(weight.dim() == 2 || weight.dim() == 4, "pack_weight: O x I or O x I x k x k wanted, got ",
              weight.sizes());
  TORCH_CHECK(!geglu || (weight.dim() == 2 && weight.size(0) % 2 == 0),
              "pack_weight: geglu wants an even number of rows, got ", weight.sizes());
  return weight.scalar_type() == at::kBFloat16 ? pack<Bf16Panel>(weight, geglu) : pack<FloatPanel>(weight, geglu);
}

}  // namespace i2i::cpu
