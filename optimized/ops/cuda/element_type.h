// What an activation's elements are, in the plain C++ faces of the CUDA operators.
#pragma once

namespace i2i::cuda {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

constexpr int element_bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

}  // namespace i2i::cuda
