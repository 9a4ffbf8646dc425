// What an activation's elements are, in the plain C++ faces of the CUDA operators.
#pragma once

namespace i2i::cuda {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

}  // namespace i2i::cuda
