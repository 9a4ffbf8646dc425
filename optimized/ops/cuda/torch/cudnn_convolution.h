// A convolution with all that stands around it as one cuDNN graph. Called by products.cpp; the switch by the GPU's
// backend. Where the build has no cuDNN headers, and in the emulated build, no_cudnn.cpp stands in for it.
#pragma once

#include "optimized/ops/cuda/torch/binding.h"

namespace i2i::cuda_ops {

/// Whether convolutions that this thread launches from here on are graphs (feature cudnn_graph); at first they are not.
void use_cudnn_graphs(bool on);

/// out = x * weight + bias + residual, sums in fp32 and one rounding, in fp16 or bf16 and channels-last memory.
/// @param bias  [O], or [1,O]; others are not taken
/// @param stride, padding  the same along both axes and on all sides
/// @return false where `out` was not written and the caller computes it otherwise: graphs are off, or nothing is added
///         and libraries are not tuned; cuDNN has none for the shape, or none was made before the capture that runs now
///         (both counted as substitutes); or it is none of the calls above (fp32, a bias per image, another layout, out
///         among the inputs)
bool cudnn_convolution(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                       const OptionalTensor& residual, std::int64_t stride, std::int64_t padding,
                       const at::Tensor& out);

}  // namespace i2i::cuda_ops
