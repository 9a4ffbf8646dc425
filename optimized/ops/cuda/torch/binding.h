// What the torch bindings of the CUDA operators share: how a tensor is seen by a kernel, the stream, and what becomes
// of a launch's error. The same sources are compiled twice: for the GPU (device_gpu.cpp, key CUDA of library i2i), and
// for the CPU over the emulated kernels (tests/cuda_emulated, key CPU of library i2i_emulated).
#pragma once

#include <ATen/core/Tensor.h>
#include <driver_types.h>

#include <cstdint>
#include <map>
#include <string>

#include "optimized/ops.h"
#include "optimized/ops/cuda/element_type.h"

namespace i2i::cuda_ops {

using ops::OptionalTensor;

/// [N,C,H,W] in channels-last memory, or [..., C] contiguous, of one type.
struct Rows {
  void* data;
  cuda::ElementType type;
  std::int64_t count;  ///< rows of all images together
  int width;
  int images;  ///< the first dimension

  std::int64_t per_image() const { return count / images; }
};

/// @throws c10::Error (an internal mistake, never a user's) where dtype or memory layout is another
Rows rows_of(const at::Tensor& tensor, const char* what);

/// The tensor as [rows, channels], without copying.
at::Tensor matrix_of(const at::Tensor& tensor);

/// Pointer of a contiguous fp32 tensor of so many elements.
float* floats_of(const at::Tensor& tensor, std::int64_t count, const char* what);
float* floats_of(const OptionalTensor& tensor, std::int64_t count, const char* what);

/// Pointer of a tensor of `rows`' type with so many elements, or null where there is none.
const void* like_rows(const OptionalTensor& tensor, const Rows& rows, std::int64_t count, const char* what);

/// The stream that launches go to.
cudaStream_t stream();

/// What CUDA, or the emulation, says about a failed launch.
std::string explain(cudaError_t error);

/// @return false where the launcher refuses the shape: the caller then computes by ATen, which is counted
/// @throws c10::Error naming the operator where the launch failed
bool launched(cudaError_t error, const char* name);

/// The same for kernels that take every shape. @throws c10::Error also where the launcher refuses
void check_launched(cudaError_t error, const char* name);

/// Counts a call that ATen makes, because no kernel has the shape.
void count_substitute(const char* name, const std::string& why);
std::map<std::string, std::int64_t> substitutes();

/// x w^T and x * w with sums in fp32 and one rounding, by the GPU's libraries; on a CPU computed in fp32.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight);
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t padding);

/// Whether NVIDIA's libraries beat kernels built on mma.sync here: from sm_90 on only wgmma and its successors reach
/// all of the tensor cores. Measured on an H200 (SDXL at 1024 x 1024): GEGLU inside our product ran at 198 TFLOP/s,
/// cuBLASLt's products at 650; our attention of head size 64 at 184.
bool libraries_win();

/// out = x weight^T + bias + residual with sums in fp32 and one rounding, by cuBLASLt; emulated in fp32.
/// @param x  [M,K]  @param weight  [N,K]  @param bias  [N]  @param residual  [M,N]  @param out  [M,N]; none of it `out`
void library_linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                    const OptionalTensor& residual, const at::Tensor& out);

/// softmax(query key^T / sqrt(D)) value by cuDNN. @param qkv  [N,T,3 heads D]  @param out  [N,T,heads D]
/// @return whether the library has the shape
bool library_self_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& out);

/// Attention by ATen. @param heads  of [N,T,C] tensors
at::Tensor plain_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, std::int64_t heads,
                           bool causal);

/// Every operator but those that only the CPU has, with the signature that ops.h gives it.
#define I2I_OP(name, schema) decltype(ops::name) name;
#define I2I_CPU_OP(name, schema)
#include "optimized/ops.inc"
#undef I2I_OP
#undef I2I_CPU_OP

}  // namespace i2i::cuda_ops
