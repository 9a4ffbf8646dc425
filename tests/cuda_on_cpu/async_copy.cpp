// cp.async: 16 bytes from global to shared memory that arrive at some time between their issue and their wait.
#include <fmt/format.h>

#include <cstring>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

void copy_now(void* to, const void* from, unsigned bytes, bool valid) {
  if (valid) {
    std::memcpy(to, from, bytes);
  } else {
    std::memset(to, 0, bytes);
  }
}

void land(AsyncCopy& copy) {
  if (copy.landed) return;
  copy_now(copy.to, copy.from, copy.bytes, copy.valid);
  copy.landed = true;
}

bool lands_at_issue() {
  switch (launch_options().async_copies) {
    case AsyncCopies::kAtIssue:
      return true;
    case AsyncCopies::kAtWait:
      return false;
    case AsyncCopies::kCoin:
      return (random_source()() & 1) != 0;
  }
  return false;
}

}  // namespace

void cp_async(void* to, const void* from, unsigned bytes, bool valid, const void* site) {
  Thread& self = *running_thread();
  const auto misaligned = [&](const void* address) { return reinterpret_cast<std::uintptr_t>(address) % bytes != 0; };
  if (misaligned(to) || (valid && misaligned(from)))
    report_issue("misaligned", fmt::format("cp.async of {} bytes at an address that is no multiple of it", bytes),
                 site);
  if (!launch_options().checked) {
    copy_now(to, from, bytes, valid);
    return;
  }
  if (valid) access(self, from, bytes, Access::kRead, site);
  access(self, to, bytes, Access::kAsyncIssue, site);
  self.open_copies.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes, valid, false});
  if (lands_at_issue()) land(self.open_copies.back());
}

void cp_async_commit() {
  if (!launch_options().checked) return;
  Thread& self = *running_thread();
  self.copy_groups.push_back(std::move(self.open_copies));
  self.open_copies.clear();
}

// What has arrived is seen by the thread that waited; the others see it after a barrier. So the landing counts as this
// thread's write of this moment.
void cp_async_wait(unsigned groups_left, const void* site) {
  Thread& self = *running_thread();
  while (self.copy_groups.size() > groups_left) {
    for (AsyncCopy& copy : self.copy_groups.front()) {
      land(copy);
      access(self, copy.to, copy.bytes, Access::kAsyncLand, site);
    }
    self.copy_groups.erase(self.copy_groups.begin());
  }
}

void forget_async_copies(Thread& thread) {
  thread.open_copies.clear();
  thread.copy_groups.clear();
}

}  // namespace i2i::cuda_on_cpu
