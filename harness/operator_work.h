// How much an operator call has to do, from the shapes of what it was called with: the arithmetic of its formula, the
// arithmetic of the method, and the memory that it reads and writes at least once. Called by the operator profile.
#pragma once

#include <ATen/core/ivalue.h>

#include <string>
#include <string_view>

namespace i2i {

/// What an operator's products multiply.
enum class Operands { kFloat32, kBf16, kInt8 };

struct OperatorWork {
  double flops = 0;           ///< products and sums of the formula, as two; matrix products and convolutions only
  double executed_flops = 0;  ///< the same, but of the method: Winograd's F(4x4, 3x3) is left with 36 products of 144
  double bytes = 0;           ///< inputs and outputs, each once
  Operands operands = Operands::kFloat32;
};

/// "convolution", "linear", "attention", "normalization" or "other": what makes two implementations' operators
/// comparable. @param name  as the library calls it
std::string operator_kind(std::string_view name);

/// @param name    as the library calls it: "i2i::linear", "aten::conv2d"
/// @param inputs  of the call; operators of our own have their outputs among them
/// @return        nothing where the operator is not known here
OperatorWork work_of(std::string_view name, c10::ArrayRef<c10::IValue> inputs);

}  // namespace i2i
