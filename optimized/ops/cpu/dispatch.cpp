// Which instruction set runs. Compiled for the oldest processor, like everything outside simd/.
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "interface/error.h"
#include "optimized/ops/cpu/instruction_sets.h"
#include "optimized/ops/cpu/kernels.h"

namespace i2i::cpu {
namespace {

struct InstructionSet {
  const char* name;
  const Kernels& (*kernels)();
  bool (*runs_here)();
};

#if defined(__x86_64__)
bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool runs_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAvxVnni = 1U << 4;  // of eax, subleaf 1; not every compiler knows its name
  return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}
bool runs_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}
bool runs_vnni() { return runs_avx512() && __builtin_cpu_supports("avx512vnni"); }
bool runs_bf16() { return runs_vnni() && __builtin_cpu_supports("avx512bf16"); }

/// Linux grants the eight kilobytes of a thread's tiles to processes that ask (Documentation/arch/x86/xstate.rst).
bool runs_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!runs_bf16() || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25;  // of edx
  if ((d & (kBf16 | kTile | kInt8)) != (kBf16 | kTile | kInt8)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

/// Worst first.
constexpr InstructionSet kSets[] = {
    {"baseline", kernels_baseline, [] { return true; }},
#if defined(__x86_64__)
    {"avx2", kernels_avx2, runs_avx2},
    {"avxvnni", kernels_avxvnni, runs_avxvnni},
    {"avx512", kernels_avx512, runs_avx512},
    {"avx512vnni", kernels_avx512vnni, runs_vnni},
    {"avx512bf16", kernels_avx512bf16, runs_bf16},
    {"amx", kernels_amx, runs_amx},
#endif
};

const InstructionSet* set_named(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kSets), std::end(kSets), [&](const auto& set) { return name == set.name; });
  return found == std::end(kSets) ? nullptr : found;
}

const Kernels* best() {
  const Kernels* kernels = nullptr;
  for (const InstructionSet& set : kSets) {
    if (set.runs_here()) kernels = &set.kernels();
  }
  return kernels;
}

/// The best, unless the environment names another.
const Kernels* first_choice() {
  const char* forced = std::getenv(kInstructionSetVariable);
  if (forced == nullptr || *forced == '\0') return best();
  const InstructionSet* set = set_named(forced);
  std::string refusal = std::string(kInstructionSetVariable) + " is '" + forced + "': ";
  if (set == nullptr) {
    refusal += "known are";
    for (const InstructionSet& known : kSets) refusal.append(" ").append(known.name);
    throw Error(ErrorCode::kUsage, refusal);
  }
  if (!set->runs_here()) throw Error(ErrorCode::kUsage, refusal + "this processor lacks it");
  return &set->kernels();
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{first_choice()};
  return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

std::vector<const char*> instruction_sets() {
  std::vector<const char*> names;
  for (const InstructionSet& set : kSets) names.push_back(set.name);
  return names;
}

bool choose_instruction_set(const char* name) {
  if (*name == '\0') {
    chosen() = first_choice();
    return true;
  }
  const InstructionSet* set = set_named(name);
  if (set == nullptr || !set->runs_here()) return false;
  chosen() = &set->kernels();
  return true;
}

}  // namespace i2i::cpu
