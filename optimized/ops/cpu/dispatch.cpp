// Which instruction set runs. Compiled for the oldest processor, like everything outside simd/.
#include <atomic>
#include <cstring>

#include "optimized/ops/cpu/kernels.h"

namespace i2i::cpu {
namespace {

bool runs(const char* name) {
#if defined(__x86_64__)
  if (std::strcmp(name, "avx512vnni") == 0) return runs("avx512") && __builtin_cpu_supports("avx512vnni");
  if (std::strcmp(name, "avx512") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
  }
  if (std::strcmp(name, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return std::strcmp(name, "baseline") == 0;
}

const Kernels* best() {
#if defined(__x86_64__)
  if (runs("avx512vnni")) return &kernels_avx512vnni();
  if (runs("avx512")) return &kernels_avx512();
  if (runs("avx2")) return &kernels_avx2();
#endif
  return &kernels_baseline();
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{best()};
  return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

bool choose_instruction_set(const char* name) {
  if (*name == '\0') {
    chosen() = best();
    return true;
  }
  if (!runs(name)) return false;
#if defined(__x86_64__)
  if (std::strcmp(name, "avx512vnni") == 0) chosen() = &kernels_avx512vnni();
  if (std::strcmp(name, "avx512") == 0) chosen() = &kernels_avx512();
  if (std::strcmp(name, "avx2") == 0) chosen() = &kernels_avx2();
#endif
  if (std::strcmp(name, "baseline") == 0) chosen() = &kernels_baseline();
  return true;
}

}  // namespace i2i::cpu
