// Runs CUDA kernels on the CPU, one fiber per CUDA thread, and says what a GPU would not: races, reads of memory that
// nobody wrote, accesses out of bounds, barriers that not everybody reaches. Test-only; a pass here is "emulated",
// never "passed on a GPU". Tests include this header; kernels see emulated_cuda.h through
// optimized/ops/cuda/device.cuh.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace i2i::cuda_on_cpu {

/// In which order threads run. kRandom favours one warp at a time, which lets warps drift as far apart as barriers
/// allow.
enum class Order { kInOrder, kReverse, kRandom };

/// When the bytes of a cp.async arrive: hardware promises no more than "before the wait returns".
enum class AsyncCopies { kAtIssue, kAtWait, kCoin };

/// How a tensor core adds its products: one after another in fp32, exactly with one rounding, or aligned to the
/// largest and cut off (the class of behaviour that is reported for real ones: Fasi et al. 2021).
enum class MmaRounding { kFloatChain, kExact, kTruncating };

struct Options {
  Order order = Order::kRandom;
  std::uint64_t seed = 1;
  std::size_t max_issues = 16;
  AsyncCopies async_copies = AsyncCopies::kCoin;
  MmaRounding mma = MmaRounding::kFloatChain;
  bool count_traffic = false;  ///< fills Report::traffic; slow
  /// Off: memory is neither watched nor poisoned, and a cp.async arrives at issue. For whole programs over kernels that
  /// their own tests have checked; barriers and collectives are still held to their rules.
  bool checked = true;
  std::size_t max_dynamic_smem_bytes = 232448;  ///< what a launch may ask for (sm_90; sm_80: 166912, sm_86: 101376)
};

/// One thing that is wrong with a kernel.
struct Issue {
  std::string kind;  ///< race, uninitialised, out-of-bounds, read-only, misaligned, divergent-barrier,
                     ///< divergent-collective, partial-warp, async-in-flight, deadlock, bad-launch, ...
  std::string text;  ///< who, where in which buffer, and file and line where debug information says so
};

/// What memory requests cost, and what they would cost at best. A request is one instruction of one warp.
struct Traffic {
  std::uint64_t shared_requests = 0;
  std::uint64_t shared_wavefronts = 0;  ///< passes through the 32 banks
  std::uint64_t shared_ideal = 0;       ///< without bank conflicts
  std::uint64_t global_requests = 0;
  std::uint64_t global_sectors = 0;    ///< of 32 bytes
  std::uint64_t global_ideal = 0;      ///< the distinct bytes asked for, in sectors
  std::vector<std::string> conflicts;  ///< the places that need more wavefronts than at best

  std::string text() const;
};

struct Report {
  std::vector<Issue> issues;
  std::uint64_t barriers = 0;
  std::uint64_t collectives = 0;
  std::uint64_t checked_accesses = 0;  ///< see Checks
  std::uint64_t matrix_products = 0;   ///< mma.sync, per warp
  std::uint64_t matrix_loads = 0;      ///< ldmatrix, per warp
  Traffic traffic;                     ///< empty unless Options::count_traffic

  bool clean() const { return issues.empty(); }
  bool has(const std::string& kind) const;
  std::string text() const;
};

/// What the linked runtime looks at. Barriers, collectives, alignment and bounds of vector accesses are always watched.
struct Checks {
  bool accesses;  ///< races, uninitialised reads, writes to inputs, bytes that nobody wrote
  bool traffic;   ///< Options::count_traffic does something
};
Checks checks();

/// Options of the launches to come, and what the latest launch reported.
Options& options();
const Report& last_report();

/// Executes `body` once per thread of the grid, block after block.
/// @param asked  whether the launch asked for its dynamic shared memory: else 48 KiB must hold that and static arrays
Report run(const char* kernel, dim3 grid, dim3 block, std::size_t dynamic_smem_bytes, const std::function<void()>& body,
           bool asked = true);

/// Bytes of "device" memory between two guard pages, NaN-poisoned, each byte's state known to the checks.
class DeviceMemory {
 public:
  DeviceMemory(std::size_t bytes, const std::string& name);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* data() const { return data_; }
  /// Fills every byte; `read_only` makes a kernel's write to it an issue.
  void copy_from_host(const void* bytes, bool read_only);
  void copy_to_host(void* bytes) const;
  /// Bytes that neither host nor kernel wrote (where Checks::accesses).
  std::size_t unwritten_bytes() const;

 private:
  void* data_;
};

/// A typed DeviceMemory: inputs are copied in and read-only, outputs are poisoned.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t count, const std::string& name = "output")
      : memory_(count * sizeof(T), name), count_(count) {}
  explicit DeviceBuffer(const std::vector<T>& values, const std::string& name = "input", bool read_only = true)
      : DeviceBuffer(values.size(), name) {
    memory_.copy_from_host(values.data(), read_only);
  }

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::vector<T> host() const {
    std::vector<T> values(count_);
    memory_.copy_to_host(values.data());
    return values;
  }
  std::size_t unwritten_bytes() const { return memory_.unwritten_bytes(); }

 private:
  DeviceMemory memory_;
  std::size_t count_;
};

}  // namespace i2i::cuda_on_cpu
