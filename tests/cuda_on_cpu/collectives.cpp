// Where threads wait for each other: barriers of a block, and collectives of a warp. Every lane publishes what it
// brings; the last to arrive computes for all.
#include <fmt/format.h>

#include <cstring>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

BarrierKind barrier_kind = BarrierKind::kPlain;

// A barrier opens when every thread that still lives has arrived.
void open_barrier_if_complete() {
  Block& block = current_block();
  if (block.at_barrier == 0 || block.at_barrier != block.live) return;
  const Thread* first = nullptr;
  int votes = 0;
  for (const auto& thread : block.threads) {
    if (thread->state != Thread::State::kAtBarrier) continue;
    if (first == nullptr) first = thread.get();
    votes += thread->barrier_predicate != 0;
    if (thread->site != first->site)
      report_issue("divergent-barrier", "threads of one block wait at different barriers", thread->site);
  }
  if (block.live != block.threads.size()) {
    report_issue("barrier-after-exit",
                 fmt::format("{} of {} threads had left the kernel before this barrier",
                             block.threads.size() - block.live, block.threads.size()),
                 first->site);
  }
  const bool all = votes == static_cast<int>(block.live);
  const int result = barrier_kind == BarrierKind::kAnd ? all : barrier_kind == BarrierKind::kOr ? votes != 0 : votes;
  for (const auto& thread : block.threads) {
    if (thread->state != Thread::State::kAtBarrier) continue;
    thread->barrier_result = result;
    make_ready(*thread);
  }
  block.at_barrier = 0;
  ++block.barrier_interval;
  ++launch_report().barriers;
}

bool same_operation(const Thread& a, const Thread& b) {
  return a.mask == b.mask && a.complete == b.complete &&
         (a.operation == b.operation || std::strcmp(a.operation, b.operation) == 0);
}

// A collective completes when every living lane of its mask has arrived with the same operation.
bool complete_if_all_arrived(Thread& arrived) {
  Warp& warp = current_block().warps[arrived.warp];
  const unsigned lanes = arrived.mask & warp.live;
  if ((warp.waiting & lanes) != lanes) return false;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1) && !same_operation(*warp.lanes[lane], arrived)) return false;
  }
  if (lanes != arrived.mask) {
    report_issue("bad-mask",
                 fmt::format("{}: lanes {:#010x} are in the mask and have left the kernel, or never were",
                             arrived.operation, arrived.mask & ~warp.live),
                 arrived.site);
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1) && warp.lanes[lane]->site != arrived.site) {
      report_issue("divergent-collective",
                   fmt::format("{}: lanes of one warp arrive from different places", arrived.operation), arrived.site);
      break;
    }
  }
  arrived.complete({warp, arrived.mask, lanes, arrived.site, arrived.operation});
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (lanes >> lane & 1) make_ready(*warp.lanes[lane]);
  }
  warp.waiting &= ~lanes;
  ++launch_report().collectives;
  return true;
}

struct ShuffleOperand {
  std::uint64_t value;
  unsigned source;
};

void complete_shuffle(const WarpCall& call) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(call.lanes >> lane & 1)) continue;
    const Thread& self = *call.warp.lanes[lane];
    const unsigned source = static_cast<const ShuffleOperand*>(self.operand)->source;
    std::uint64_t value = ~std::uint64_t{0};
    if (call.lanes >> source & 1) {
      value = static_cast<const ShuffleOperand*>(call.warp.lanes[source]->operand)->value;
    } else {
      report_issue("inactive-lane",
                   fmt::format("{}: lane {} reads lane {}, which takes no part", call.operation, lane, source),
                   call.site);
    }
    *static_cast<std::uint64_t*>(self.result) = value;
  }
}

void complete_ballot(const WarpCall& call) {
  unsigned votes = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((call.lanes >> lane & 1) && *static_cast<const int*>(call.warp.lanes[lane]->operand) != 0) votes |= 1u << lane;
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (call.lanes >> lane & 1) *static_cast<unsigned*>(call.warp.lanes[lane]->result) = votes;
  }
}

// Only __syncwarp orders memory inside a warp; shuffles, votes and mma do not. One of a part of the warp orders nothing
// here, which is stricter than hardware.
void complete_warp_barrier(const WarpCall& call) {
  if (call.lanes == call.warp.live) ++current_block().warps[running_thread()->warp].interval;
}

}  // namespace

void thread_has_left(Thread& thread) {
  open_barrier_if_complete();
  const Warp& warp = current_block().warps[thread.warp];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((warp.waiting >> lane & 1) && (warp.lanes[lane]->mask >> thread.lane & 1) &&
        complete_if_all_arrived(*warp.lanes[lane]))
      return;
  }
}

void join_collective(const char* operation, unsigned mask, const void* operand, void* result,
                     CompleteCollective complete, const void* site) {
  Thread& self = *running_thread();
  if (!(mask >> self.lane & 1)) {
    report_issue("bad-mask", fmt::format("{}: the calling lane {} is not in its mask", operation, self.lane), site);
    abandon_kernel();
  }
  self.operation = operation;
  self.mask = mask;
  self.operand = operand;
  self.result = result;
  self.complete = complete;
  self.site = site;
  self.state = Thread::State::kInCollective;
  current_block().warps[self.warp].waiting |= 1u << self.lane;
  if (!complete_if_all_arrived(self)) wait_for_turn();
}

int barrier(BarrierKind kind, int predicate, const void* site) {
  Thread& self = *running_thread();
  barrier_kind = kind;
  self.barrier_predicate = predicate;
  self.site = site;
  self.state = Thread::State::kAtBarrier;
  ++current_block().at_barrier;
  open_barrier_if_complete();
  if (self.state == Thread::State::kAtBarrier) wait_for_turn();
  return self.barrier_result;
}

void warp_barrier(unsigned mask, const void* site) {
  join_collective("__syncwarp", mask, nullptr, nullptr, complete_warp_barrier, site);
}

std::uint64_t shuffle(const char* operation, unsigned mask, std::uint64_t operand, int source_lane, const void* site) {
  const ShuffleOperand brought{operand, static_cast<unsigned>(source_lane) & 31u};
  std::uint64_t result = 0;
  join_collective(operation, mask, &brought, &result, complete_shuffle, site);
  return result;
}

unsigned ballot(unsigned mask, int predicate, const void* site) {
  unsigned result = 0;
  join_collective("__ballot_sync", mask, &predicate, &result, complete_ballot, site);
  return result;
}

}  // namespace i2i::cuda_on_cpu
