// Fibers and their order, barriers, warp collectives. Blocks run one after another; inside a block one thread at a
// time.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <random>
#include <set>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

constexpr std::size_t kStackBytes = 96 * 1024;
constexpr unsigned kWarpSize = 32;

struct Launch {
  Options options;
  Report report;
  std::string kernel;
  const std::function<void()>* body = nullptr;
  ThreadView view{};
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<unsigned> warp_priority;
  std::vector<std::uint32_t> warp_interval;
  std::uint32_t barrier_interval = 0;
  std::uint32_t block_serial = 0;
  std::uint32_t first_block = 1;
  ucontext_t scheduler{};
  Thread* running = nullptr;
  BarrierKind barrier_kind = BarrierKind::kPlain;
  bool aborted = false;
  std::set<std::pair<std::string, const void*>> reported;
  std::mt19937_64 random;
} g;

std::size_t live_threads() {
  return static_cast<std::size_t>(std::count_if(g.threads.begin(), g.threads.end(),
                                                [](const auto& t) { return t->state != Thread::State::kDone; }));
}

void thread_main() {
  (*g.body)();
  g.running->state = Thread::State::kDone;
  setcontext(&g.scheduler);
}

// Back to the scheduler until this thread is ready again.
void wait_in(Thread::State state) {
  Thread& self = *g.running;
  self.state = state;
  swapcontext(&self.context, &g.scheduler);
}

// A barrier opens when every thread that still lives has arrived.
void release_barrier_if_complete() {
  std::vector<Thread*> waiting;
  for (auto& thread : g.threads) {
    if (thread->state == Thread::State::kAtBarrier) waiting.push_back(thread.get());
  }
  if (waiting.empty() || waiting.size() != live_threads()) return;
  if (waiting.size() != g.threads.size()) {
    report_issue("barrier-after-exit",
                 fmt::format("{} of {} threads had left the kernel before this barrier",
                             g.threads.size() - waiting.size(), g.threads.size()),
                 waiting.front()->site);
  }
  int votes = 0;
  for (Thread* thread : waiting) {
    votes += thread->barrier_predicate != 0;
    if (thread->site != waiting.front()->site) {
      report_issue("divergent-barrier", "threads of one block wait at different barriers", thread->site);
    }
  }
  const int all = votes == static_cast<int>(waiting.size());
  for (Thread* thread : waiting) {
    thread->result = static_cast<std::uint64_t>(g.barrier_kind == BarrierKind::kAnd  ? all
                                                : g.barrier_kind == BarrierKind::kOr ? votes != 0
                                                                                     : votes);
    thread->state = Thread::State::kReady;
  }
  ++g.barrier_interval;
  ++g.report.barriers;
}

// A collective completes when every living lane of its mask has arrived with the same operation.
void complete_collective(Thread& arrived) {
  std::array<Thread*, kWarpSize> lanes{};
  for (auto& thread : g.threads) {
    if (thread->warp == arrived.warp) lanes[thread->lane] = thread.get();
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(arrived.mask >> lane & 1)) continue;
    Thread* other = lanes[lane];
    if (other == nullptr || other->state == Thread::State::kDone) {
      report_issue(
          "bad-mask",
          fmt::format("{}: lane {} is in the mask and has left the kernel, or never was", arrived.operation, lane),
          arrived.site);
      lanes[lane] = nullptr;
      continue;
    }
    if (other->state != Thread::State::kInCollective || std::strcmp(other->operation, arrived.operation) != 0 ||
        other->mask != arrived.mask)
      return;
  }
  const bool is_ballot = std::strcmp(arrived.operation, "__ballot_sync") == 0;
  std::uint64_t votes = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((arrived.mask >> lane & 1) && lanes[lane] != nullptr && lanes[lane]->operand != 0)
      votes |= std::uint64_t{1} << lane;
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(arrived.mask >> lane & 1) || lanes[lane] == nullptr) continue;
    Thread& self = *lanes[lane];
    if (self.site != arrived.site) {
      report_issue("divergent-collective",
                   fmt::format("{}: lanes of one warp arrive from different places", arrived.operation), self.site);
    }
    const auto source = static_cast<unsigned>(self.parameter) & 31u;
    if (is_ballot) {
      self.result = votes;
    } else if (!(arrived.mask >> source & 1) || lanes[source] == nullptr) {
      report_issue("inactive-lane",
                   fmt::format("{}: lane {} reads lane {}, which takes no part", arrived.operation, lane, source),
                   self.site);
      self.result = ~std::uint64_t{0};
    } else {
      self.result = lanes[source]->operand;
    }
  }
  for (Thread* lane : lanes) {
    if (lane != nullptr && (arrived.mask >> lane->lane & 1)) lane->state = Thread::State::kReady;
  }
  if (std::strcmp(arrived.operation, "__syncwarp") == 0) ++g.warp_interval[arrived.warp];
  ++g.report.collectives;
}

std::uint64_t join_collective(const char* operation, unsigned mask, std::uint64_t operand, int parameter,
                              const void* site) {
  Thread& self = *g.running;
  if (!(mask >> self.lane & 1))
    report_issue("bad-mask", fmt::format("{}: the calling lane {} is not in its mask", operation, self.lane), site);
  self.operation = operation;
  self.mask = mask;
  self.operand = operand;
  self.parameter = parameter;
  self.site = site;
  self.state = Thread::State::kInCollective;
  complete_collective(self);
  if (self.state != Thread::State::kReady) wait_in(Thread::State::kInCollective);
  return self.result;
}

Thread* choose_next() {
  std::vector<Thread*> ready;
  for (auto& thread : g.threads) {
    if (thread->state == Thread::State::kReady) ready.push_back(thread.get());
  }
  if (ready.empty()) return nullptr;
  if (g.options.order == Order::kInOrder) return ready.front();
  if (g.options.order == Order::kReverse) return ready.back();
  if (g.random() % 64 == 0) std::shuffle(g.warp_priority.begin(), g.warp_priority.end(), g.random);
  const auto favoured = *std::min_element(ready.begin(), ready.end(), [](const Thread* a, const Thread* b) {
    return g.warp_priority[a->warp] < g.warp_priority[b->warp];
  });
  std::erase_if(ready, [&](const Thread* t) { return t->warp != favoured->warp; });
  return ready[g.random() % ready.size()];
}

void report_deadlock() {
  std::string waiting;
  for (const auto& thread : g.threads) {
    if (thread->state == Thread::State::kDone || waiting.size() > 160) continue;
    waiting += fmt::format(" {}@{}", thread->linear,
                           thread->state == Thread::State::kAtBarrier ? "__syncthreads" : thread->operation);
  }
  report_issue("deadlock", "nobody can go on; thread@operation:" + waiting, nullptr);
}

void run_block() {
  const dim3 block = g.view.block_dim;
  const unsigned count = block.x * block.y * block.z;
  g.barrier_interval = 0;
  g.warp_interval.assign((count + kWarpSize - 1) / kWarpSize, 0);
  g.warp_priority.resize(g.warp_interval.size());
  for (unsigned i = 0; i < g.warp_priority.size(); ++i) g.warp_priority[i] = i;
  std::shuffle(g.warp_priority.begin(), g.warp_priority.end(), g.random);
  while (g.threads.size() < count) {
    g.threads.push_back(std::make_unique<Thread>());
    g.threads.back()->stack.resize(kStackBytes);
  }
  g.threads.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = *g.threads[i];
    thread.index = uint3{i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    thread.linear = i;
    thread.lane = i % kWarpSize;
    thread.warp = i / kWarpSize;
    thread.state = Thread::State::kReady;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = thread.stack.size();
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, thread_main, 0);
  }
  while (live_threads() > 0 && !g.aborted) {
    g.running = choose_next();
    if (g.running == nullptr) {
      report_deadlock();
      break;
    }
    g.view.thread = g.running->index;
    swapcontext(&g.scheduler, &g.running->context);
    const Thread& stopped = *g.running;
    g.running = nullptr;
    if (stopped.state == Thread::State::kDone) {
      for (auto& thread : g.threads) {
        if (thread->state == Thread::State::kInCollective && thread->warp == stopped.warp) complete_collective(*thread);
      }
    }
    release_barrier_if_complete();
  }
  g.running = nullptr;
}

// File and line of a code address, by the debug information of this program (linked without PIE).
std::string source_line(const void* site) {
  static std::map<const void*, std::string> known;
  if (site == nullptr) return "";
  if (const auto found = known.find(site); found != known.end()) return found->second;
  const auto command = fmt::format("addr2line -s -e /proc/{}/exe {:#x} 2>/dev/null", getpid(),
                                   reinterpret_cast<std::uintptr_t>(site) - 1);
  std::string line;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    std::array<char, 256> buffer{};
    if (fgets(buffer.data(), buffer.size(), pipe) != nullptr) line = buffer.data();
    pclose(pipe);
  }
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return known[site] = line.empty() || line.starts_with("??") ? "" : " at " + line;
}

}  // namespace

bool Report::has(const std::string& kind) const {
  return std::any_of(issues.begin(), issues.end(), [&](const Issue& issue) { return issue.kind == kind; });
}

std::string Report::text() const {
  std::string result;
  for (const Issue& issue : issues) result += issue.kind + ": " + issue.text + "\n";
  return result;
}

Options& options() {
  static Options current;
  return current;
}
const Report& last_report() { return g.report; }
Thread* running_thread() { return g.running; }
std::uint32_t first_block_of_launch() { return g.first_block; }
void count_access() { ++g.report.checked_accesses; }

Moment now() {
  const Thread& self = *g.running;
  return {g.block_serial, g.barrier_interval, g.warp_interval[self.warp], static_cast<std::uint16_t>(self.linear)};
}

bool in_kernel_stack(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  return std::any_of(g.threads.begin(), g.threads.end(), [&](const auto& t) {
    return byte >= t->stack.data() && byte < t->stack.data() + t->stack.size();
  });
}

void report_issue(const std::string& kind, const std::string& text, const void* site) {
  if (g.report.issues.size() >= g.options.max_issues) return;
  // One fault is met by many threads: one report a kind and place is enough.
  if (!g.reported.insert({kind, site}).second) return;
  std::string who;
  if (g.running != nullptr) {
    who = fmt::format(" [{} block ({},{},{}) thread {}]", g.kernel, g.view.block.x, g.view.block.y, g.view.block.z,
                      g.running->linear);
  }
  g.report.issues.push_back({kind, text + who + source_line(site)});
}

const ThreadView& view() {
  g.view.thread = g.running->index;
  return g.view;
}
int lane_index() { return static_cast<int>(g.running->lane); }

void abandon_kernel() {
  g.aborted = true;
  g.running->state = Thread::State::kDone;
  setcontext(&g.scheduler);
  __builtin_unreachable();
}

int barrier(BarrierKind kind, int predicate, const void* site) {
  Thread& self = *g.running;
  g.barrier_kind = kind;
  self.barrier_predicate = predicate;
  self.site = site;
  wait_in(Thread::State::kAtBarrier);
  return static_cast<int>(self.result);
}
void warp_barrier(unsigned mask, const void* site) { join_collective("__syncwarp", mask, 0, lane_index(), site); }
std::uint64_t shuffle(const char* operation, unsigned mask, std::uint64_t operand, int source_lane, const void* site) {
  return join_collective(operation, mask, operand, source_lane, site);
}
unsigned ballot(unsigned mask, int predicate, const void* site) {
  return static_cast<unsigned>(join_collective("__ballot_sync", mask, predicate != 0, lane_index(), site));
}

Report run(const char* kernel, dim3 grid, dim3 block, std::size_t dynamic_smem_bytes,
           const std::function<void()>& body) {
  g.options = options();
  g.report = {};
  g.reported.clear();
  g.kernel = kernel;
  g.body = &body;
  g.aborted = false;
  g.random.seed(g.options.seed);
  g.first_block = g.block_serial + 1;
  std::vector<uint3> blocks;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) blocks.push_back(uint3{x, y, z});
    }
  }
  if (g.options.order == Order::kReverse) std::reverse(blocks.begin(), blocks.end());
  if (g.options.order == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), g.random);
  for (const uint3& index : blocks) {
    g.view = ThreadView{{}, index, block, grid};
    ++g.block_serial;
    begin_block_memory(dynamic_smem_bytes);
    run_block();
    end_block_memory();
    if (g.aborted) break;
  }
  return g.report;
}

bool launch(const char* name, dim3 grid, dim3 block, std::size_t smem, const std::function<void()>& body) {
  return run(name, grid, block, smem, body).clean();
}

}  // namespace i2i::cuda_on_cpu
