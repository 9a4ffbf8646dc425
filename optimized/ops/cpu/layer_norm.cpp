// LayerNorm over the channels of each row.
#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

void layer_norm(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, double eps,
                const at::Tensor& out) {
  const Rows x = rows_of(input, "layer_norm input"), y = rows_of(out, "layer_norm out");
  TORCH_CHECK(x.count == y.count && x.width == y.width, "layer_norm: ", input.sizes(), " to ", out.sizes());
  const float* scale = optional_floats(weight, x.width, "layer_norm weight");
  const float* shift = optional_floats(bias, x.width, "layer_norm bias");
  constexpr std::int64_t kRowsPerTask = 32;
  const Kernels& use = kernels();
  for_each_task((x.count + kRowsPerTask - 1) / kRowsPerTask, static_cast<double>(x.count * x.width) * 0.2,
                [&](std::int64_t task) {
                  const std::int64_t first = task * kRowsPerTask, rows = std::min(kRowsPerTask, x.count - first);
                  use.layer_norm(x.data + first * x.width, y.data + first * x.width, rows, x.width, scale, shift, eps);
                });
}

}  // namespace i2i::cpu
