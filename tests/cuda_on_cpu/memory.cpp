// Device and shared memory: where it lies, its guard pages and its poison.
#include "tests/cuda_on_cpu/memory.h"

#include <fmt/format.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>

#include "tests/cuda_on_cpu/emulated_cuda.h"

namespace i2i::cuda_on_cpu {
namespace {

struct Memory {
  std::map<std::uintptr_t, std::unique_ptr<Region>> regions;  // by start of the mapping
  std::map<const void*, Region*> static_arrays;
  // Without checks: plain memory, kept from block to block.
  std::map<const void*, std::unique_ptr<char[]>> unchecked_arrays;
  std::vector<char> unchecked_dynamic;
  Region* dynamic = nullptr;
  std::size_t block_bytes = 0, most_block_bytes = 0;  // of shared memory
  Region* latest = nullptr;                           // most accesses go where the last one went
} m;

constexpr std::size_t kAlignment = 256;  // what cudaMalloc promises
constexpr int kPoison = 0xff;            // NaN in every floating type

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
  std::memset(region->mapping + page, kPoison, body);
  // With AddressSanitizer, all but the data itself is out of bounds. (Without, these macros do nothing.)
  ASAN_POISON_MEMORY_REGION(region->mapping, region->mapping_bytes);
  ASAN_UNPOISON_MEMORY_REGION(region->data, bytes);
  Region* raw = region.get();
  m.regions[reinterpret_cast<std::uintptr_t>(raw->mapping)] = std::move(region);
  return raw;
}

void free_region(Region* region) {
  if (m.latest == region) m.latest = nullptr;
  ASAN_UNPOISON_MEMORY_REGION(region->mapping, region->mapping_bytes);
  munmap(region->mapping, region->mapping_bytes);
  m.regions.erase(reinterpret_cast<std::uintptr_t>(region->mapping));
}

}  // namespace

Region* find_region(std::uintptr_t address) {
  const auto holds = [&](const Region* region) {
    return address - reinterpret_cast<std::uintptr_t>(region->mapping) < region->mapping_bytes;
  };
  if (m.latest != nullptr && holds(m.latest)) return m.latest;
  auto next = m.regions.upper_bound(address);
  if (next == m.regions.begin()) return nullptr;
  Region* region = std::prev(next)->second.get();
  if (!holds(region)) return nullptr;
  return m.latest = region;
}

DeviceMemory::DeviceMemory(std::size_t bytes, const std::string& name) : data_(new_region(bytes, name, false)->data) {}
DeviceMemory::~DeviceMemory() { free_region(find_region(reinterpret_cast<std::uintptr_t>(data_))); }

void DeviceMemory::copy_from_host(const void* bytes, bool read_only) {
  Region* region = find_region(reinterpret_cast<std::uintptr_t>(data_));
  if (region->bytes > 0) std::memcpy(data_, bytes, region->bytes);
  region->read_only = read_only;
  mark_initialised(*region);
}

void DeviceMemory::copy_to_host(void* bytes) const {
  const Region* region = find_region(reinterpret_cast<std::uintptr_t>(data_));
  if (region->bytes > 0) std::memcpy(bytes, data_, region->bytes);
}

std::size_t DeviceMemory::unwritten_bytes() const {
  return count_uninitialised(*find_region(reinterpret_cast<std::uintptr_t>(data_)));
}

// Dynamic shared memory stays mapped from block to block; its bytes count as written by block, and are poisoned again.
void begin_block_memory(std::size_t dynamic_smem_bytes, std::size_t most) {
  m.block_bytes = dynamic_smem_bytes;
  m.most_block_bytes = most;
  if (!launch_options().checked) {
    if (m.unchecked_dynamic.size() < dynamic_smem_bytes + kAlignment)
      m.unchecked_dynamic.resize(dynamic_smem_bytes + kAlignment);
    return;
  }
  if (m.dynamic != nullptr && m.dynamic->bytes != dynamic_smem_bytes) {
    free_region(m.dynamic);
    m.dynamic = nullptr;
  }
  if (dynamic_smem_bytes == 0) return;
  if (m.dynamic == nullptr) {
    m.dynamic = new_region(dynamic_smem_bytes, "dynamic shared memory", true);
  } else {
    std::memset(m.dynamic->data, kPoison, m.dynamic->bytes);
  }
}

void end_block_memory() {
  for (const auto& [key, region] : m.static_arrays) free_region(region);
  m.static_arrays.clear();
}

void* dynamic_smem() {
  if (!launch_options().checked) {
    char* const memory = m.unchecked_dynamic.data();
    return memory + (kAlignment - reinterpret_cast<std::uintptr_t>(memory) % kAlignment) % kAlignment;
  }
  return m.dynamic == nullptr ? nullptr : m.dynamic->data;
}

void* static_smem(const void* key, std::size_t bytes) {
  if (!launch_options().checked) {
    auto& array = m.unchecked_arrays[key];
    if (array == nullptr) array = std::make_unique<char[]>(bytes);
    return array.get();
  }
  Region*& region = m.static_arrays[key];
  if (region == nullptr) {
    region = new_region(bytes, "shared array", true);
    m.block_bytes += bytes;
    if (m.block_bytes > m.most_block_bytes) {
      report_issue("bad-launch",
                   fmt::format("dynamic memory and static arrays are {} bytes together; the launch has {}",
                               m.block_bytes, m.most_block_bytes),
                   nullptr);
    }
  }
  return region->data;
}

}  // namespace i2i::cuda_on_cpu
