// What cuBLASLt and cuDNN do on a GPU (optimized/ops/cuda/torch/libraries.cpp), in fp32 on the CPU with one rounding.
#include <ATen/ATen.h>

#include "optimized/ops/cuda/torch/binding.h"
#include "tests/cuda_emulated/emulated.h"

namespace i2i {

bool& emulated_libraries_win() {
  static bool win = false;
  return win;
}

namespace cuda_ops {

bool libraries_win() { return emulated_libraries_win(); }

void library_linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                    const OptionalTensor& residual, const at::Tensor& out) {
  at::Tensor sum = at::mm(x.to(at::kFloat), weight.to(at::kFloat).t());
  if (bias.has_value() && bias->defined()) sum += *bias;
  if (residual.has_value()) sum += *residual;
  out.copy_(sum);
}

bool library_self_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out) {
  const auto parts = qkv.chunk(3, -1);
  out.copy_(plain_attention(parts[0], parts[1], parts[2], heads, false));
  return true;
}

}  // namespace cuda_ops
}  // namespace i2i
