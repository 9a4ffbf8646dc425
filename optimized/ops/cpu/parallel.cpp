#include "optimized/ops/cpu/parallel.h"

#include <omp.h>

#include <atomic>
#include <exception>

namespace i2i::cpu {

int thread_count() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

void run_tasks(std::int64_t count, void (*body)(void*, std::int64_t), void* context) {
  if (thread_count() == 1) {
    for (std::int64_t task = 0; task < count; ++task) body(context, task);
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
#pragma omp parallel
  {
    // Taken one by one: a thread that loses its core to another process holds up one task, not its share of all.
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      try {
        body(context, task);
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace i2i::cpu
