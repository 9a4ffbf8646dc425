// Choosing among a library's algorithms by time. For libraries.cpp and cudnn_convolution.cpp.
#pragma once

#include <cstddef>
#include <functional>

namespace i2i::cuda_ops {

constexpr std::size_t kMostCandidates = 8;  ///< algorithms that are timed for one shape

/// Whether this thread's choices are made by time (feature tuned_libraries); at first they are not.
void tune_libraries(bool on);
bool libraries_are_tuned();

/// Whether the current stream records a CUDA graph, so that nothing can be timed.
bool is_capturing();

/// The candidate that takes least time on the current stream, each a few times in turns, best of three. Not while
/// capturing.
/// @param run  launches a candidate @return false where it cannot
std::size_t fastest(std::size_t count, const std::function<bool(std::size_t)>& run);

}  // namespace i2i::cuda_ops
