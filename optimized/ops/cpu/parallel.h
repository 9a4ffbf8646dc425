// Shares tasks out over torch's own OpenMP threads. No torch type, so that the one file that needs -fopenmp stands
// alone.
#pragma once

#include <cstdint>
#include <type_traits>

namespace i2i::cpu {

/// Runs body(context, task) for each task in [0, count), each task on one thread, in no promised order.
/// Rethrows the first exception after all threads are back.
void run_tasks(std::int64_t count, void (*body)(void* context, std::int64_t task), void* context);

/// Threads that run_tasks would use.
int thread_count();

/// Waking the second thread and waiting for it costs a few microseconds: work below this many nanoseconds stays on one
/// thread.
constexpr double kWorthThreadsNs = 6000;

/// @param cost_ns  a rough estimate of all tasks together on one thread
template <typename Body>
void for_each_task(std::int64_t count, double cost_ns, Body&& body) {
  if (count == 1 || cost_ns < kWorthThreadsNs) {
    for (std::int64_t task = 0; task < count; ++task) body(task);
    return;
  }
  run_tasks(
      count, [](void* context, std::int64_t task) { (*static_cast<std::remove_reference_t<Body>*>(context))(task); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace i2i::cpu
