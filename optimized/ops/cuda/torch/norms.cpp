// group_norm_silu and layer_norm.
#include <ATen/ops/empty.h>

#include "optimized/ops/cuda/group_norm_silu.h"
#include "optimized/ops/cuda/layer_norm.h"
#include "optimized/ops/cuda/torch/binding.h"

namespace i2i::cuda_ops {

void group_norm_silu(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, std::int64_t groups,
                     double eps, bool silu, const at::Tensor& out) {
  const Rows x = rows_of(input, "group_norm_silu input"), y = rows_of(out, "group_norm_silu out");
  TORCH_CHECK(x.count == y.count && x.width == y.width && x.type == y.type, "group_norm_silu: ", input.sizes(), " to ",
              out.sizes());
  cuda::GroupNormSilu call{};
  call.input = x.data;
  call.type = x.type;
  call.weight = floats_of(weight, x.width, "group_norm_silu weight");
  call.bias = floats_of(bias, x.width, "group_norm_silu bias");
  call.out = y.data;
  call.images = x.images;
  call.pixels = x.per_image();
  call.channels = x.width;
  call.groups = static_cast<int>(groups);
  call.eps = static_cast<float>(eps);
  call.silu = silu;
  at::Tensor workspace;
  if (const auto bytes = static_cast<std::int64_t>(cuda::group_norm_silu_workspace_bytes(call)); bytes > 0) {
    workspace = at::empty({bytes / 4}, input.options().dtype(at::kFloat));
    call.workspace = static_cast<float*>(workspace.data_ptr());
  }
  check_launched(cuda::group_norm_silu(call, stream()), "group_norm_silu");
}

void layer_norm(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias, double eps,
                const at::Tensor& out) {
  const Rows x = rows_of(input, "layer_norm input"), y = rows_of(out, "layer_norm out");
  TORCH_CHECK(x.count == y.count && x.width == y.width && x.type == y.type, "layer_norm: ", input.sizes(), " to ",
              out.sizes());
  cuda::LayerNorm call{};
  call.input = x.data;
  call.type = x.type;
  call.weight = floats_of(weight, x.width, "layer_norm weight");
  call.bias = floats_of(bias, x.width, "layer_norm bias");
  call.out = y.data;
  call.rows = x.count;
  call.channels = x.width;
  call.eps = static_cast<float>(eps);
  check_launched(cuda::layer_norm(call, stream()), "layer_norm");
}

}  // namespace i2i::cuda_ops
