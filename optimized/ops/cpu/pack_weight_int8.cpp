// Weights as signed bytes, each output channel with a step of its own, in the panels that int8_product reads.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstring>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {
namespace {

/// Writes column `column` of a panel whose bytes are zero so far: round(w / scale), scale = max |w| / 127.
void quantize_column(const float* weights, std::int64_t depth, std::int8_t* panel, std::int64_t panel_width,
                     std::int64_t column) {
  float magnitude = 0;
  for (std::int64_t k = 0; k < depth; ++k) magnitude = std::max(magnitude, std::abs(weights[k]));
  const float scale = magnitude / 127.0f, inverse = magnitude > 1e-30f ? 127.0f / magnitude : 0.0f;
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < depth; ++k) {
    const auto value = static_cast<std::int32_t>(std::lrint(weights[k] * inverse));
    sum += value;
    panel[(k / 4 * panel_width + column) * 4 + k % 4] = static_cast<std::int8_t>(value);
  }
  const std::int32_t start = -128 * sum;
  std::int8_t* after = panel + round_up(depth, 4) * panel_width;
  std::memcpy(after + 4 * column, &start, 4);
  std::memcpy(after + 4 * (panel_width + column), &scale, 4);
}

constexpr std::int64_t kDeepest = 66000;  // 255 * 127 * depth stays below 2^31

}  // namespace

at::Tensor pack_weight_int8(const at::Tensor& weight, bool geglu) {
  TORCH_CHECK(weight.dim() == 2 || weight.dim() == 4, "pack_weight_int8: O x I or O x I x k x k wanted, got ",
              weight.sizes());
  const std::int64_t out = weight.size(0), depth = weight.numel() / out;
  TORCH_CHECK(!geglu || (weight.dim() == 2 && out % 2 == 0),
              "pack_weight_int8: geglu wants an even number of rows, got ", weight.sizes());
  TORCH_CHECK(depth <= kDeepest, "pack_weight_int8: ", depth, " products are summed, at most ", kDeepest, " fit");
  // Taps outside, channels inside, as conv2d_int8 gathers a window.
  const at::Tensor plain = (weight.dim() == 4 ? weight.permute({0, 2, 3, 1}) : weight).to(at::kFloat).contiguous();
  const auto* source = static_cast<const float*>(plain.const_data_ptr());

  const std::int64_t columns = geglu ? out / 2 : out;
  const std::int64_t width =
      geglu ? 2 * std::max<std::int64_t>(16, panel_width_for(columns) / 2 / 16 * 16) : panel_width_for(columns);
  const std::int64_t per_panel = geglu ? width / 2 : width;
  const std::int64_t panels = (columns + per_panel - 1) / per_panel, rows = int8_panel_rows((depth + 3) / 4);
  at::Tensor packed = at::zeros({panels, rows, width}, at::kChar);
  auto* target = static_cast<std::int8_t*>(packed.data_ptr());
  for_each_task(panels, static_cast<double>(out * depth), [&](std::int64_t panel) {
    for (std::int64_t j = 0; j < width; ++j) {
      const bool gate = geglu && j >= per_panel;
      const std::int64_t column = panel * per_panel + (gate ? j - per_panel : j);
      if (column >= columns) continue;
      quantize_column(source + (gate ? column + columns : column) * depth, depth, target + panel * rows * width, width,
                      j);
    }
  });
  return packed;
}

at::Tensor pack_winograd_int8(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3,
              "pack_winograd_int8: O x I x 3 x 3 wanted, got ", weight.sizes());
  const std::int64_t out = weight.size(0), in = weight.size(1);
  TORCH_CHECK(in % 16 == 0 && out % 16 == 0 && in <= kDeepest, "pack_winograd_int8: multiples of 16 wanted, got ",
              weight.sizes());
  const at::Tensor plain = weight.to(at::kFloat).contiguous();
  const auto* source = static_cast<const float*>(plain.const_data_ptr());
  const std::int64_t width = panel_width_for(out), panels = (out + width - 1) / width, rows = int8_panel_rows(in / 4);
  at::Tensor packed = at::zeros({16, panels, rows, width}, at::kChar);
  auto* target = static_cast<std::int8_t*>(packed.data_ptr());
  constexpr float kG[4][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};
  for_each_task(panels, static_cast<double>(out * in) * 100, [&](std::int64_t panel) {
    float* planes = thread_scratch(2, 16 * in);
    for (std::int64_t j = 0; j < width && panel * width + j < out; ++j) {
      for (std::int64_t i = 0; i < in; ++i) {
        const float* g = source + ((panel * width + j) * in + i) * 9;
        float half[4][3];  // G g
        for (int r = 0; r < 4; ++r) {
          for (int x = 0; x < 3; ++x) half[r][x] = kG[r][0] * g[x] + kG[r][1] * g[3 + x] + kG[r][2] * g[6 + x];
        }
        for (int p = 0; p < 16; ++p) {  // (G g) G^T
          const float *row = half[p / 4], *column = kG[p % 4];
          planes[p * in + i] = row[0] * column[0] + row[1] * column[1] + row[2] * column[2];
        }
      }
      for (std::int64_t p = 0; p < 16; ++p) {
        quantize_column(planes + p * in, in, target + (p * panels + panel) * rows * width, width, j);
      }
    }
  });
  return packed;
}

}  // namespace i2i::cpu
