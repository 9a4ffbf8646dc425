// Weights from checkpoint order to panels: [panels, taps * I, panel_width], zero beyond the last output channel.
#include <ATen/ops/zeros.h>

#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

at::Tensor pack_weight(const at::Tensor& weight, bool geglu) {
  TORCH_CHECK(weight.dim() == 2 || weight.dim() == 4, "pack_weight: O x I or O x I x k x k wanted, got ",
              weight.sizes());
  const std::int64_t out = weight.size(0), in = weight.size(1),
                     taps = weight.dim() == 4 ? weight.size(2) * weight.size(3) : 1;
  TORCH_CHECK(!geglu || (taps == 1 && out % 2 == 0), "pack_weight: geglu wants an even number of rows, got ",
              weight.sizes());
  const at::Tensor plain = weight.to(at::kFloat).contiguous();
  const auto* source = static_cast<const float*>(plain.const_data_ptr());

  // With geglu each panel holds some values and then their gates, so that both meet in one block.
  const std::int64_t columns = geglu ? out / 2 : out;
  const std::int64_t width =
      geglu ? 2 * std::max<std::int64_t>(16, panel_width_for(columns) / 2 / 16 * 16) : panel_width_for(columns);
  const std::int64_t per_panel = geglu ? width / 2 : width;
  const std::int64_t panels = (columns + per_panel - 1) / per_panel;
  at::Tensor packed = at::zeros({panels, taps * in, width}, at::kFloat);
  auto* target = static_cast<float*>(packed.data_ptr());
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    for (std::int64_t j = 0; j < width; ++j) {
      const bool gate = geglu && j >= per_panel;
      const std::int64_t column = panel * per_panel + (gate ? j - per_panel : j);
      if (column >= columns) continue;
      const float* row = source + (gate ? column + columns : column) * in * taps;
      for (std::int64_t i = 0; i < in; ++i) {
        for (std::int64_t tap = 0; tap < taps; ++tap)
          target[(panel * taps * in + tap * in + i) * width + j] = row[i * taps + tap];
      }
    }
  }
  return packed;
}

}  // namespace i2i::cpu
