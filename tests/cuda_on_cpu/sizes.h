// Host-side sizes in tests of kernels.
#pragma once

#include <cstddef>

namespace i2i {

/// The product of a few small sizes as an index. @param count  not negative
inline std::size_t as_size(int count) { return static_cast<std::size_t>(count); }

}  // namespace i2i
