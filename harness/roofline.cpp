#include "harness/roofline.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"

namespace i2i {
namespace {

constexpr int kRounds = 6;                                // the first ones wake threads and clocks
constexpr std::int64_t kChainRounds = 2'000'000;          // about 10 ms
constexpr std::int64_t kFloats = std::int64_t{64} << 20;  // 256 MiB: more than any cache holds

/// Amount a second, in 1e9, of the best round. @param body  one thread's share of a round @param amount of all
template <typename Body>
double best_rate(int threads, const Body& body) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> amounts(static_cast<std::size_t>(threads));
    const auto start = std::chrono::steady_clock::now();
    cpu::for_each_task(threads, 1e9, [&](std::int64_t task) { amounts[static_cast<std::size_t>(task)] = body(task); });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    double amount = 0;
    for (const double one : amounts) amount += one;
    best = std::max(best, amount / elapsed.count() / 1e9);
  }
  return best;
}

}  // namespace

Roofline measure_roofline() {
  const cpu::Kernels& kernels = cpu::kernels();
  Roofline roofline;
  roofline.threads = at::get_num_threads();  // settles OpenMP's number too
  const int threads = roofline.threads;
  std::vector<float> sinks(static_cast<std::size_t>(threads) * 16);  // a cache line each
  const auto sink = [&](std::int64_t task) { return &sinks[static_cast<std::size_t>(task) * 16]; };
  roofline.fp32_gflops =
      best_rate(threads, [&](std::int64_t task) { return kernels.multiply_add_chains(kChainRounds, sink(task)); });
  roofline.int8_gops =
      best_rate(threads, [&](std::int64_t task) { return kernels.int8_dot_chains(kChainRounds / 4, sink(task)); });
  roofline.bf16_gflops =
      best_rate(threads, [&](std::int64_t task) { return kernels.bf16_dot_chains(kChainRounds / 4, sink(task)); });
  const std::unique_ptr<float[]> memory(new float[kFloats]());
  const std::int64_t share = kFloats / threads;
  roofline.gigabytes_per_s = best_rate(threads, [&](std::int64_t task) {
    kernels.read_memory(memory.get() + task * share, share, sink(task));
    return 4.0 * static_cast<double>(share);
  });
  return roofline;
}

double least_ms(const Roofline& roofline, const OperatorWork& work) {
  double peak = roofline.fp32_gflops;
  if (work.operands == Operands::kInt8 && roofline.int8_gops > 0) peak = roofline.int8_gops;
  if (work.operands == Operands::kBf16 && roofline.bf16_gflops > 0) peak = roofline.bf16_gflops;
  return std::max(work.executed_flops / peak, work.bytes / roofline.gigabytes_per_s) / 1e6;
}

}  // namespace i2i
