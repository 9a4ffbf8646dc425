// Which thread runs: blocks one after another, inside a block one thread at a time, on a stack of its own.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

struct Launch {
  Options options;
  Report report;
  const std::function<void()>* body = nullptr;
  ThreadView view{};
  Block block;
  std::uint32_t blocks_ever = 0;
  std::uint32_t first_block = 1;
  std::vector<unsigned> turn;  // warps, the most favoured first
  Stacks stacks;
  Context host;
  Thread* running = nullptr;
  bool aborted = false;
  std::mt19937_64 random;
} g;

// A favoured warp runs until it blocks; favour changes now and then. So warps drift as far apart as barriers allow,
// which brings a missing one out; an even order hides it.
constexpr unsigned kSwitchesPerFavour = 64;

Thread* choose_next() {
  const bool random = g.options.order == Order::kRandom;
  if (random && g.random() % kSwitchesPerFavour == 0) std::shuffle(g.turn.begin(), g.turn.end(), g.random);
  for (const unsigned w : g.turn) {
    const Warp& warp = g.block.warps[w];
    if (warp.ready == 0) continue;
    if (g.options.order == Order::kReverse)
      return warp.lanes[31u - static_cast<unsigned>(std::countl_zero(warp.ready))];
    const auto start = random ? static_cast<int>(g.random() % kWarpSize) : 0;
    const auto lane = static_cast<unsigned>(std::countr_zero(std::rotr(warp.ready, start)) + start) % kWarpSize;
    return warp.lanes[lane];
  }
  return nullptr;
}

[[noreturn]] void leave_to_host() {
  Thread& self = *g.running;
  g.running = nullptr;
  leave_context(self.context, g.host);
}

void thread_main() {
  (*g.body)();
  Thread& self = *g.running;
  self.state = Thread::State::kDone;
  Warp& warp = g.block.warps[self.warp];
  warp.live &= ~(1u << self.lane);
  warp.ready &= ~(1u << self.lane);
  --g.block.live;
  thread_has_left(self);
  Thread* next = choose_next();
  if (next == nullptr) leave_to_host();
  g.running = next;
  leave_context(self.context, next->context);
}

void report_deadlock() {
  std::string waiting;
  for (const auto& thread : g.block.threads) {
    if (thread->state == Thread::State::kDone || waiting.size() > 160) continue;
    waiting += fmt::format(" {}@{}", thread->linear,
                           thread->state == Thread::State::kAtBarrier ? "__syncthreads" : thread->operation);
  }
  report_issue("deadlock", "nobody can go on; thread@operation:" + waiting, nullptr);
}

void begin_block() {
  const dim3 shape = g.view.block_dim;
  const unsigned count = shape.x * shape.y * shape.z;
  Block& block = g.block;
  block.serial = ++g.blocks_ever;
  block.barrier_interval = 0;
  block.live = count;
  block.at_barrier = 0;
  block.warps.assign((count + kWarpSize - 1) / kWarpSize, {});
  g.turn.resize(block.warps.size());
  for (unsigned i = 0; i < g.turn.size(); ++i) g.turn[i] = i;
  if (g.options.order == Order::kReverse) std::reverse(g.turn.begin(), g.turn.end());
  if (g.options.order == Order::kRandom) std::shuffle(g.turn.begin(), g.turn.end(), g.random);
  while (block.threads.size() < count) block.threads.push_back(std::make_unique<Thread>());
  block.threads.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = *block.threads[i];
    thread.index = uint3{i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
    thread.linear = i;
    thread.lane = i % kWarpSize;
    thread.warp = i / kWarpSize;
    forget_async_copies(thread);
    Warp& warp = block.warps[thread.warp];
    warp.lanes[thread.lane] = &thread;
    warp.live |= 1u << thread.lane;
    make_ready(thread);
    prepare_context(thread.context, g.stacks.of(i), Stacks::kBytes, thread_main);
  }
}

void run_block() {
  begin_block();
  g.running = choose_next();
  switch_context(g.host, g.running->context);
  if (!g.aborted && g.block.live > 0) report_deadlock();
  g.running = nullptr;
}

std::vector<uint3> block_order(dim3 grid) {
  std::vector<uint3> blocks;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) blocks.push_back(uint3{x, y, z});
    }
  }
  if (g.options.order == Order::kReverse) std::reverse(blocks.begin(), blocks.end());
  if (g.options.order == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), g.random);
  return blocks;
}

/// Limits of every architecture since sm_80; `options.max_dynamic_smem_bytes` differs from one to the next.
bool launch_is_possible(dim3 grid, dim3 block, std::size_t dynamic_smem_bytes) {
  const auto blocks = std::uint64_t{grid.x} * grid.y * grid.z, threads = std::uint64_t{block.x} * block.y * block.z;
  return blocks > 0 && threads > 0 && threads <= 1024 && grid.y <= 65535 && grid.z <= 65535 && block.z <= 64 &&
         dynamic_smem_bytes <= g.options.max_dynamic_smem_bytes;
}

}  // namespace

Options& options() {
  static Options current;
  return current;
}
const Report& last_report() { return g.report; }
Report& launch_report() { return g.report; }
const Options& launch_options() { return g.options; }
Thread* running_thread() { return g.running; }
Block& current_block() { return g.block; }
std::uint32_t first_block_of_launch() { return g.first_block; }
std::mt19937_64& random_source() { return g.random; }
bool in_kernel_stack(const void* address) { return g.stacks.contains(address); }

Moment moment_of(const Thread& thread) {
  return {g.block.serial, g.block.barrier_interval, g.block.warps[thread.warp].interval,
          static_cast<std::uint16_t>(thread.linear), 0};
}

const ThreadView& view() {
  g.view.thread = g.running->index;
  return g.view;
}
int lane_index() { return static_cast<int>(g.running->lane); }

void make_ready(Thread& thread) {
  thread.state = Thread::State::kReady;
  g.block.warps[thread.warp].ready |= 1u << thread.lane;
}

void wait_for_turn() {
  Thread& self = *g.running;
  g.block.warps[self.warp].ready &= ~(1u << self.lane);
  Thread* next = choose_next();
  if (next == nullptr) leave_to_host();
  g.running = next;
  switch_context(self.context, next->context);
}

void abandon_kernel() {
  g.aborted = true;
  leave_to_host();
}

Report run(const char* kernel, dim3 grid, dim3 block, std::size_t dynamic_smem_bytes, const std::function<void()>& body,
           bool asked) {
  constexpr std::size_t kWithoutAsking = 48 * 1024;
  g.options = options();
  g.report = {};
  begin_report(kernel);
  g.body = &body;
  g.aborted = false;
  g.random.seed(g.options.seed);
  g.first_block = g.blocks_ever + 1;
  if (!launch_is_possible(grid, block, dynamic_smem_bytes)) {
    report_issue(
        "bad-launch",
        fmt::format("grid {}x{}x{}, block {}x{}x{}, {} bytes of dynamic shared memory (at most {})", grid.x, grid.y,
                    grid.z, block.x, block.y, block.z, dynamic_smem_bytes, g.options.max_dynamic_smem_bytes),
        nullptr);
    return g.report;
  }
  g.stacks.reserve(std::size_t{block.x} * block.y * block.z);
  begin_traffic();
  for (const uint3& index : block_order(grid)) {
    g.view = ThreadView{{}, index, block, grid};
    begin_block_memory(dynamic_smem_bytes, asked ? g.options.max_dynamic_smem_bytes : kWithoutAsking);
    run_block();
    count_block_traffic();
    end_block_memory();
    if (g.aborted) break;
  }
  end_traffic();
  return g.report;
}

std::size_t max_block_smem() { return options().max_dynamic_smem_bytes; }

bool launch(const char* name, dim3 grid, dim3 block, std::size_t smem, bool asked, const std::function<void()>& body) {
  return run(name, grid, block, smem, body, asked).clean();
}

}  // namespace i2i::cuda_on_cpu
