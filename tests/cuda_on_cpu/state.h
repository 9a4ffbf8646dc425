// What the runtime's own files share: the running thread, and the calls from scheduling to memory and back.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda_on_cpu {

/// One CUDA thread.
struct Thread {
  uint3 index{};
  unsigned linear = 0;
  unsigned lane = 0;
  unsigned warp = 0;

  ucontext_t context{};
  std::vector<char> stack;
  enum class State { kReady, kAtBarrier, kInCollective, kDone } state = State::kReady;

  const void* site = nullptr;  ///< where it waits
  const char* operation = "";  ///< the collective it waits for
  unsigned mask = 0;
  std::uint64_t operand = 0;
  int parameter = 0;
  std::uint64_t result = 0;
  int barrier_predicate = 0;
};

/// Moments that memory accesses are ordered by: a block, its barrier intervals, and a warp's intervals between
/// __syncwarp.
struct Moment {
  std::uint32_t block = 0;  ///< serial number over all launches; 0 means never
  std::uint32_t barrier_interval = 0;
  std::uint32_t warp_interval = 0;
  std::uint16_t thread = 0;
};

Thread* running_thread();
Moment now();
std::uint32_t first_block_of_launch();
bool in_kernel_stack(const void* address);
/// Leaves the kernel for good: what comes next would fault.
[[noreturn]] void abandon_kernel();
void report_issue(const std::string& kind, const std::string& text, const void* site);

/// memory.cpp
void begin_block_memory(std::size_t dynamic_smem_bytes);
void end_block_memory();
void count_access();

}  // namespace i2i::cuda_on_cpu
