// The rules of memory: every access is held against what the shadow knows of each byte.
#include <fmt/format.h>

#include <cstring>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/memory.h"

namespace i2i::cuda_on_cpu {
namespace {

// Marks of Shadow::written ...
constexpr std::uint16_t kInitialised = 1;
constexpr std::uint16_t kAtomic = 2;
constexpr std::uint16_t kPending = 4;  ///< of a cp.async that its thread has not waited for
// ... and of Shadow::read: who else read in that interval.
constexpr std::uint16_t kSeveralThreads = 1;
constexpr std::uint16_t kSeveralWarps = 2;
constexpr std::uint16_t kSeveralBlocks = 4;  ///< of this launch

bool same_interval(const Moment& a, const Moment& b) {
  return a.block == b.block && a.barrier_interval == b.barrier_interval;
}

bool later_in_warp(const Moment& before, const Moment& current) {
  return before.thread / kWarpSize == current.thread / kWarpSize && before.warp_interval < current.warp_interval;
}

// Whether an access at `before` certainly happened earlier than one at `current`.
bool ordered(const Moment& before, const Moment& current, bool shared) {
  if (shared ? before.block != current.block : before.block < first_block_of_launch()) return true;
  if (before.block != current.block) return false;  // blocks of one launch have no order
  return before.thread == current.thread || before.barrier_interval < current.barrier_interval ||
         later_in_warp(before, current);
}

bool read_is_ordered(const Moment& read, const Moment& current, bool shared) {
  if (read.block == 0) return true;
  if ((read.marks & kSeveralBlocks) && !shared) return false;
  if (same_interval(read, current)) {
    if (read.marks & kSeveralWarps) return false;
    if (read.marks & kSeveralThreads) return later_in_warp(read, current);
  }
  return ordered(read, current, shared);
}

void note_read(Moment& read, const Moment& current) {
  std::uint16_t marks = 0;
  if (same_interval(read, current)) {
    marks = read.marks;
    if (read.thread != current.thread) {
      marks |= kSeveralThreads;
      if (read.thread / kWarpSize != current.thread / kWarpSize) marks |= kSeveralWarps;
    }
  } else if (read.block >= first_block_of_launch() && ((read.marks & kSeveralBlocks) || read.block != current.block)) {
    marks = kSeveralBlocks;
  }
  read = current;
  read.marks = marks;
}

struct Place {
  const Region& region;
  std::size_t offset;
  const void* site;
};

void report_race(const char* what, const Moment& other, const Moment& current, const Place& place) {
  report_issue("race",
               fmt::format("{} thread {}{} at '{}' + {} bytes", what, other.thread,
                           other.block == current.block ? "" : " of another block", place.region.name, place.offset),
               place.site);
}

bool initialised(const Shadow& byte, const Moment& current, bool shared) {
  return shared ? byte.written.block == current.block : (byte.written.marks & kInitialised) != 0;
}

bool pending(const Shadow& byte, const Moment& current) {
  return (byte.written.marks & kPending) && byte.written.block == current.block;
}

void read_byte(Shadow& byte, const Moment& current, const Place& place) {
  const bool shared = place.region.shared;
  if (pending(byte, current)) {
    report_issue(
        "async-in-flight",
        fmt::format("read of '{}' + {} bytes, which a cp.async may still be writing", place.region.name, place.offset),
        place.site);
  }
  if (!ordered(byte.written, current, shared))
    report_race("read not ordered after the write of", byte.written, current, place);
  if (!initialised(byte, current, shared)) {
    report_issue("uninitialised",
                 fmt::format("read of '{}' + {} bytes, which nobody wrote", place.region.name, place.offset),
                 place.site);
  }
  note_read(byte.read, current);
}

void write_byte(Shadow& byte, const Moment& current, const Place& place, Access kind) {
  const bool shared = place.region.shared;
  const bool atomic = kind == Access::kAtomic, both_atomic = atomic && (byte.written.marks & kAtomic);
  if (pending(byte, current) && kind != Access::kAsyncLand) {
    report_issue(
        "async-in-flight",
        fmt::format("write of '{}' + {} bytes, which a cp.async may still be writing", place.region.name, place.offset),
        place.site);
  }
  if (!both_atomic) {
    if (!ordered(byte.written, current, shared))
      report_race("write not ordered after the write of", byte.written, current, place);
    if (!read_is_ordered(byte.read, current, shared))
      report_race("write not ordered after the read of", byte.read, current, place);
  }
  if (atomic && !initialised(byte, current, shared)) {
    report_issue("uninitialised",
                 fmt::format("atomic on '{}' + {} bytes, which nobody wrote", place.region.name, place.offset),
                 place.site);
  }
  byte.written = current;
  byte.written.marks =
      static_cast<std::uint16_t>(kInitialised | (atomic ? kAtomic : 0) | (kind == Access::kAsyncIssue ? kPending : 0));
}

}  // namespace

void access(Thread& thread, const void* address, std::size_t bytes, Access kind, const void* site) {
  if (!launch_options().checked) return;
  Region* region = find_region(reinterpret_cast<std::uintptr_t>(address));
  if (region == nullptr) return;  // host globals and tables
  ++launch_report().checked_accesses;
  const bool write = kind != Access::kRead && kind != Access::kMatrixRead;
  const auto offset = static_cast<const char*>(address) - region->data;
  if (offset < 0 || static_cast<std::size_t>(offset) + bytes > region->bytes) {
    report_issue("out-of-bounds",
                 fmt::format("{} of {} bytes at offset {} of '{}', which has {} bytes", write ? "write" : "read", bytes,
                             offset, region->name, region->bytes),
                 site);
    abandon_kernel();
  }
  if (kAddressSanitizer) return;
  if (write && region->read_only) report_issue("read-only", fmt::format("write to the input '{}'", region->name), site);
  if (launch_options().count_traffic && kind != Access::kAsyncLand && kind != Access::kMatrixRead)
    note_traffic(thread, address, bytes, region->shared, site);
  const Moment current = moment_of(thread);
  Shadow* const shadow = region->shadow.data() + offset;
  Shadow before{};
  for (std::size_t i = 0; i < bytes; ++i) {
    // Neighbours mostly have the same history: what was found for one holds for the next.
    if (i > 0 && std::memcmp(&shadow[i], &before, sizeof(Shadow)) == 0) {
      shadow[i] = shadow[i - 1];
      continue;
    }
    before = shadow[i];
    const Place place{*region, static_cast<std::size_t>(offset) + i, site};
    if (write) {
      write_byte(shadow[i], current, place, kind);
    } else {
      read_byte(shadow[i], current, place);
    }
  }
}

Checks checks() { return {.accesses = !kAddressSanitizer, .traffic = !kAddressSanitizer}; }

void mark_initialised(Region& region) {
  for (Shadow& byte : region.shadow) byte.written.marks |= kInitialised;
}

std::size_t count_uninitialised(const Region& region) {
  std::size_t count = 0;
  for (const Shadow& byte : region.shadow) count += !(byte.written.marks & kInitialised);
  return count;
}

}  // namespace i2i::cuda_on_cpu
