// Device and shared memory: guard pages, NaN poison, and a shadow of every byte's last writer and reader.
// The __tsan_* functions below are called by kernels compiled with -fsanitize=thread; libtsan itself is not linked.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

/// What is known of one byte. Host writes have block 0, which every later moment is ordered after.
struct Shadow {
  Moment written;
  Moment read;
  bool initialised = false;
  bool written_atomically = false;
  bool read_by_several = false;  ///< more than one thread in the interval of `read`
  bool read_by_several_warps = false;
  bool read_by_several_blocks = false;  ///< of this launch
};

struct Region {
  std::string name;
  char* mapping = nullptr;
  std::size_t mapping_bytes = 0;
  char* data = nullptr;
  std::size_t bytes = 0;
  bool shared = false;
  bool read_only = false;
  std::vector<Shadow> shadow;
};

struct Memory {
  std::map<std::uintptr_t, std::unique_ptr<Region>> regions;  // by start of the mapping
  std::map<const void*, Region*> static_arrays;
  Region* dynamic = nullptr;
} m;

constexpr std::size_t kAlignment = 256;  // what cudaMalloc promises

// [guard page][slack, then data that ends at the page's end][guard page]: an overrun faults or lands in the slack's
// check.
Region* new_region(std::size_t bytes, const std::string& name, bool shared) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  auto region = std::make_unique<Region>();
  const std::size_t body = (bytes + page - 1) / page * page + page;
  region->mapping_bytes = body + 2 * page;
  region->mapping = static_cast<char*>(
      mmap(nullptr, region->mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(region->mapping, page, PROT_NONE);
  mprotect(region->mapping + page + body, page, PROT_NONE);
  region->data = region->mapping + page + (body - bytes) / kAlignment * kAlignment;
  region->bytes = bytes;
  region->name = name;
  region->shared = shared;
  region->shadow.resize(bytes);
  std::memset(region->mapping + page, 0xff, body);  // NaN in every floating type
  Region* raw = region.get();
  m.regions[reinterpret_cast<std::uintptr_t>(raw->mapping)] = std::move(region);
  return raw;
}

void free_region(Region* region) {
  munmap(region->mapping, region->mapping_bytes);
  m.regions.erase(reinterpret_cast<std::uintptr_t>(region->mapping));
}

Region* find_region(std::uintptr_t address) {
  auto next = m.regions.upper_bound(address);
  if (next == m.regions.begin()) return nullptr;
  Region* region = std::prev(next)->second.get();
  return address - reinterpret_cast<std::uintptr_t>(region->mapping) < region->mapping_bytes ? region : nullptr;
}

// Whether an access at `before` certainly happened earlier than this thread's access at `current`.
bool ordered(const Moment& before, const Moment& current, bool shared) {
  if (shared ? before.block != current.block : before.block < first_block_of_launch()) return true;
  if (before.block != current.block) return false;  // blocks of one launch have no order
  if (before.thread == current.thread || before.barrier_interval < current.barrier_interval) return true;
  return before.thread / 32 == current.thread / 32 && before.warp_interval < current.warp_interval;
}

bool same_interval(const Moment& a, const Moment& b) {
  return a.block == b.block && a.barrier_interval == b.barrier_interval;
}

std::string race_text(const char* what, const Moment& other, const Moment& current, const Region& region,
                      std::size_t offset) {
  return fmt::format("{} thread {}{} at '{}' + {} bytes", what, other.thread,
                     other.block == current.block ? "" : " of another block", region.name, offset);
}

void note_read(Shadow& byte, const Moment& current) {
  if (same_interval(byte.read, current)) {
    if (byte.read.thread != current.thread) {
      byte.read_by_several = true;
      byte.read_by_several_warps |= byte.read.thread / 32 != current.thread / 32;
    }
  } else {
    byte.read_by_several_blocks =
        byte.read.block >= first_block_of_launch() && (byte.read_by_several_blocks || byte.read.block != current.block);
    byte.read_by_several = byte.read_by_several_warps = false;
  }
  byte.read = current;
}

bool read_is_ordered(const Shadow& byte, const Moment& current, bool shared) {
  if (byte.read.block == 0) return true;
  if (byte.read_by_several_blocks && !shared) return false;
  if (same_interval(byte.read, current)) {
    if (byte.read_by_several_warps) return false;
    if (byte.read_by_several)
      return byte.read.thread / 32 == current.thread / 32 && byte.read.warp_interval < current.warp_interval;
  }
  return ordered(byte.read, current, shared);
}

void access(const void* address, std::size_t bytes, bool write, bool atomic, const void* site) {
  if (running_thread() == nullptr || in_kernel_stack(address)) return;
  Region* region = find_region(reinterpret_cast<std::uintptr_t>(address));
  if (region == nullptr) return;  // host globals and tables
  count_access();
  const auto offset = static_cast<const char*>(address) - region->data;
  if (offset < 0 || static_cast<std::size_t>(offset) + bytes > region->bytes) {
    report_issue("out-of-bounds",
                 fmt::format("{} of {} bytes at offset {} of '{}', which has {} bytes", write ? "write" : "read", bytes,
                             offset, region->name, region->bytes),
                 site);
    abandon_kernel();
  }
  if (write && region->read_only) report_issue("read-only", fmt::format("write to the input '{}'", region->name), site);
  const Moment current = now();
  for (std::size_t i = 0; i < bytes; ++i) {
    Shadow& byte = region->shadow[static_cast<std::size_t>(offset) + i];
    const bool both_atomic = atomic && byte.written_atomically;
    if (!both_atomic && !ordered(byte.written, current, region->shared)) {
      report_issue("race",
                   race_text(write ? "write not ordered after the write of" : "read not ordered after the write of",
                             byte.written, current, *region, static_cast<std::size_t>(offset) + i),
                   site);
    }
    const bool initialised = region->shared ? byte.written.block == current.block : byte.initialised;
    if ((!write || atomic) && !initialised) {
      report_issue("uninitialised",
                   fmt::format("read of '{}' + {} bytes, which nobody wrote", region->name,
                               static_cast<std::size_t>(offset) + i),
                   site);
    }
    if (write) {
      if (!both_atomic && !read_is_ordered(byte, current, region->shared)) {
        report_issue("race",
                     race_text("write not ordered after the read of", byte.read, current, *region,
                               static_cast<std::size_t>(offset) + i),
                     site);
      }
      byte.written = current;
      byte.written_atomically = atomic;
      byte.initialised = true;
    } else {
      note_read(byte, current);
    }
  }
}

}  // namespace

DeviceMemory::DeviceMemory(std::size_t bytes, const std::string& name) : data_(new_region(bytes, name, false)->data) {}
DeviceMemory::~DeviceMemory() { free_region(find_region(reinterpret_cast<std::uintptr_t>(data_))); }

void DeviceMemory::mark_written(bool read_only) {
  Region* region = find_region(reinterpret_cast<std::uintptr_t>(data_));
  region->read_only = read_only;
  for (Shadow& byte : region->shadow) byte.initialised = true;
}

std::size_t DeviceMemory::unwritten_bytes() const {
  const Region* region = find_region(reinterpret_cast<std::uintptr_t>(data_));
  std::size_t count = 0;
  for (const Shadow& byte : region->shadow) count += !byte.initialised;
  return count;
}

void begin_block_memory(std::size_t dynamic_smem_bytes) {
  if (dynamic_smem_bytes > 0) m.dynamic = new_region(dynamic_smem_bytes, "dynamic shared memory", true);
}

void end_block_memory() {
  if (m.dynamic != nullptr) free_region(m.dynamic);
  m.dynamic = nullptr;
  for (const auto& [key, region] : m.static_arrays) free_region(region);
  m.static_arrays.clear();
}

void* dynamic_smem() { return m.dynamic == nullptr ? nullptr : m.dynamic->data; }

void* static_smem(const void* key, std::size_t bytes) {
  Region*& region = m.static_arrays[key];
  if (region == nullptr) region = new_region(bytes, "shared array", true);
  return region->data;
}

void vector_access(const void* address, std::size_t bytes, bool write, const void* site) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    report_issue("misaligned",
                 fmt::format("{}-byte vector access at an address that is no multiple of {}", bytes, bytes), site);
  }
  access(address, bytes, write, false, site);
}

void atomic_access(void* address, std::size_t bytes, const void* site) { access(address, bytes, true, true, site); }

}  // namespace i2i::cuda_on_cpu

// NOLINTBEGIN(bugprone-reserved-identifier): the compiler chose these names.
// The instrumentation's callbacks. Each names its width; the caller's address is the site.
#define I2I_TSAN_ACCESS(bytes)                                                     \
  extern "C" void __tsan_read##bytes(void* p) {                                    \
    i2i::cuda_on_cpu::access(p, bytes, false, false, __builtin_return_address(0)); \
  }                                                                                \
  extern "C" void __tsan_write##bytes(void* p) {                                   \
    i2i::cuda_on_cpu::access(p, bytes, true, false, __builtin_return_address(0));  \
  }                                                                                \
  extern "C" void __tsan_unaligned_read##bytes(void* p) {                          \
    i2i::cuda_on_cpu::access(p, bytes, false, false, __builtin_return_address(0)); \
  }                                                                                \
  extern "C" void __tsan_unaligned_write##bytes(void* p) {                         \
    i2i::cuda_on_cpu::access(p, bytes, true, false, __builtin_return_address(0));  \
  }
I2I_TSAN_ACCESS(1)
I2I_TSAN_ACCESS(2)
I2I_TSAN_ACCESS(4)
I2I_TSAN_ACCESS(8)
I2I_TSAN_ACCESS(16)
extern "C" void __tsan_read_range(void* p, unsigned long n) {
  i2i::cuda_on_cpu::access(p, n, false, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* p, unsigned long n) {
  i2i::cuda_on_cpu::access(p, n, true, false, __builtin_return_address(0));
}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_vptr_update(void*, void*) {}
extern "C" void __tsan_vptr_read(void*) {}
// NOLINTEND(bugprone-reserved-identifier)
