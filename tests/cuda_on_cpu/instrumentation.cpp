// How kernels' memory accesses reach the shadow: kernels are compiled with -fsanitize=thread, and these are the
// functions that the compiler calls then; libtsan itself is not linked.
#include <fmt/format.h>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {

static void checked_access(const void* address, std::size_t bytes, Access kind, const void* site) {
  if (!launch_options().checked || running_thread() == nullptr || in_kernel_stack(address)) return;
  access(*running_thread(), address, bytes, kind, site);
}

void vector_access(const void* address, std::size_t bytes, bool write, const void* site) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    report_issue("misaligned",
                 fmt::format("{}-byte vector access at an address that is no multiple of {}", bytes, bytes), site);
  }
  checked_access(address, bytes, write ? Access::kWrite : Access::kRead, site);
}

void atomic_access(void* address, std::size_t bytes, const void* site) {
  checked_access(address, bytes, Access::kAtomic, site);
}

}  // namespace i2i::cuda_on_cpu

// NOLINTBEGIN(bugprone-reserved-identifier): the compiler chose these names.
// Each names its width; the caller's address is the site.
#define I2I_CHECK(kind, bytes) \
  i2i::cuda_on_cpu::checked_access(p, bytes, i2i::cuda_on_cpu::Access::kind, __builtin_return_address(0))
#define I2I_TSAN_ACCESS(bytes)                                                       \
  extern "C" void __tsan_read##bytes(void* p) { I2I_CHECK(kRead, bytes); }           \
  extern "C" void __tsan_write##bytes(void* p) { I2I_CHECK(kWrite, bytes); }         \
  extern "C" void __tsan_unaligned_read##bytes(void* p) { I2I_CHECK(kRead, bytes); } \
  extern "C" void __tsan_unaligned_write##bytes(void* p) { I2I_CHECK(kWrite, bytes); }
I2I_TSAN_ACCESS(1)
I2I_TSAN_ACCESS(2)
I2I_TSAN_ACCESS(4)
I2I_TSAN_ACCESS(8)
I2I_TSAN_ACCESS(16)
extern "C" void __tsan_read_range(void* p, unsigned long n) { I2I_CHECK(kRead, n); }
extern "C" void __tsan_write_range(void* p, unsigned long n) { I2I_CHECK(kWrite, n); }
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_vptr_update(void*, void*) {}
extern "C" void __tsan_vptr_read(void*) {}
// NOLINTEND(bugprone-reserved-identifier)
