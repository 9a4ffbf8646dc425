// What the runtime's own files share: the running thread and its block, and the calls from one file to the next.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/cuda_on_cpu/fiber.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace i2i::cuda_on_cpu {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;

/// A build with AddressSanitizer sees every access out of bounds, those of scalars in shared and of local arrays among
/// them; the shadow, which needs another instrumentation of the kernels, rests.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

struct WarpCall;
/// Computes a collective's results for all of its lanes at once.
using CompleteCollective = void (*)(const WarpCall& call);

struct AsyncCopy {
  char* to;
  const char* from;
  unsigned bytes;
  bool valid;  ///< false: zeros arrive, and nothing is read
  bool landed;
};

struct TrafficEvent {
  const void* site;
  std::uintptr_t address;
  std::uint32_t bytes;
  bool shared;
};

/// One CUDA thread.
struct Thread {
  uint3 index{};
  unsigned linear = 0;
  unsigned lane = 0;
  unsigned warp = 0;
  Context context;
  enum class State { kReady, kAtBarrier, kInCollective, kDone } state = State::kReady;

  const void* site = nullptr;  ///< where it waits
  const char* operation = "";  ///< the collective it waits for
  unsigned mask = 0;
  const void* operand = nullptr;
  void* result = nullptr;
  CompleteCollective complete = nullptr;
  int barrier_predicate = 0;
  int barrier_result = 0;

  std::vector<AsyncCopy> open_copies;               ///< issued and not yet committed
  std::vector<std::vector<AsyncCopy>> copy_groups;  ///< committed and not yet waited for, oldest first
  std::vector<TrafficEvent> traffic;
};

struct Warp {
  std::array<Thread*, kWarpSize> lanes{};
  unsigned live = 0;     ///< lanes that have not left the kernel
  unsigned ready = 0;    ///< lanes that could run
  unsigned waiting = 0;  ///< lanes in a collective
  std::uint32_t interval = 0;
};

/// The block that runs.
struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  std::uint32_t serial = 0;  ///< over all launches
  std::uint32_t barrier_interval = 0;
  unsigned live = 0;
  unsigned at_barrier = 0;
};

/// The lanes that take part in a completed collective.
struct WarpCall {
  const Warp& warp;
  unsigned mask;   ///< as the kernel gave it
  unsigned lanes;  ///< of those, the ones that live
  const void* site;
  const char* operation;
};

/// Moments that memory accesses are ordered by: a block, its barrier intervals, and a warp's intervals between
/// __syncwarp.
struct Moment {
  std::uint32_t block = 0;  ///< serial number over all launches; 0 means never
  std::uint32_t barrier_interval = 0;
  std::uint32_t warp_interval = 0;
  std::uint16_t thread = 0;
  std::uint16_t marks = 0;  ///< what else the shadow knows of that access
};

/// scheduler.cpp
Block& current_block();
Thread* running_thread();
Moment moment_of(const Thread& thread);
std::uint32_t first_block_of_launch();
bool in_kernel_stack(const void* address);
const Options& launch_options();
Report& launch_report();
std::mt19937_64& random_source();
void make_ready(Thread& thread);
/// Gives the processor away until somebody makes this thread ready.
void wait_for_turn();
/// Leaves the kernel for good: what comes next would fault.
[[noreturn]] void abandon_kernel();

/// report.cpp
void begin_report(const std::string& kernel);
void report_issue(const std::string& kind, const std::string& text, const void* site);
std::string source_line(const void* site);

/// collectives.cpp
void join_collective(const char* operation, unsigned mask, const void* operand, void* result,
                     CompleteCollective complete, const void* site);
void thread_has_left(Thread& thread);

/// shadow.cpp
enum class Access { kRead, kMatrixRead, kWrite, kAtomic, kAsyncIssue, kAsyncLand };
void access(Thread& thread, const void* address, std::size_t bytes, Access kind, const void* site);

/// memory.cpp
/// @param most  bytes of dynamic memory and static arrays together
void begin_block_memory(std::size_t dynamic_smem_bytes, std::size_t most);
void end_block_memory();

/// async_copy.cpp, traffic.cpp
void forget_async_copies(Thread& thread);
void note_traffic(Thread& thread, const void* address, std::size_t bytes, bool shared, const void* site);
void note_matrix_load(const std::array<const void*, 8>& rows, const void* site);
void count_block_traffic();
void begin_traffic();
void end_traffic();

}  // namespace i2i::cuda_on_cpu
