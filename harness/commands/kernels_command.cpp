// i2i kernels: every fused operator against its formula, checked first, then timed beside libtorch by Google Benchmark.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <regex>

#include "harness/commands/command.h"
#include "harness/kernel_cases.h"

namespace i2i {
namespace {

// An operator may be this many times as far from the float64 formula as libtorch's fp32 is, and always this far.
// Winograd's transforms cancel: its allowance is that of its tests. Bytes of normally distributed values have steps of
// 3.5 to 4.5 deviations / 127: the sums' noise is 1.2 to 1.5 % of their deviation, its largest value as far out in the
// noise as the largest sum is in the sums; F(2x2, 3x3) makes it 1.7 times as much. In attention queries and keys each
// move a score, and with it a weight, by that much, and values the sum: three noises, the square root of 3 times one.
// A bfloat16 is off by 0.16 % of itself (root mean square), a product of two by 0.23 %, and so are sums of them. In
// attention four roundings add up to 0.34 %, and a long query moves all of its scores at once: up to three times that.
constexpr double kTimesLibtorch = 4, kAlwaysAllowed = 3e-6, kWinogradAllowed = 5e-5, kInt8Allowed = 0.02,
                 kWinogradInt8Allowed = 0.035, kAttentionInt8Allowed = 0.035, kBf16Allowed = 4e-3,
                 kAttentionBf16Allowed = 0.012;

struct KernelsCommand {
  std::string filter = ".*";
  int threads = 0;
  double min_time = 0.2;
  bool check_only = false;
  std::vector<std::string> benchmark_flags;  ///< Google Benchmark's own, as given
};

double allowed_distance(const KernelCase& one, double libtorch_distance) {
  const bool winograd = one.op.starts_with("conv2d_winograd");
  double least = winograd ? kWinogradAllowed : kAlwaysAllowed;
  if (one.op.ends_with("_int8")) least = winograd ? kWinogradInt8Allowed : kInt8Allowed;
  if (one.op == "self_attention_int8") least = kAttentionInt8Allowed;
  if (one.op.ends_with("_bf16")) least = kBf16Allowed;
  if (one.op == "self_attention_bf16") least = kAttentionBf16Allowed;
  return std::max(least, kTimesLibtorch * libtorch_distance);
}

// "" if the operator is right, else what is wrong.
std::string problem_with(const KernelCase& one, const PreparedKernel& kernel) {
  const at::Tensor truth = kernel.in_double();
  kernel.optimized();
  const double got = distance_from_truth(kernel.out, truth);
  const double allowed = allowed_distance(one, distance_from_truth(kernel.reference(), truth));
  fmt::print(stderr, "{} {:<20} {:<44} distance {:.1e}, allowed {:.1e}\n", got <= allowed ? "right" : "WRONG", one.op,
             one.shape, got, allowed);
  return got <= allowed ? "" : fmt::format("differs by {:.1e}, allowed are {:.1e}", got, allowed);
}

void count_work(benchmark::State& state, const KernelCase& one) {
  using benchmark::Counter;
  if (one.flops > 0) state.counters["FLOP/s"] = Counter(one.flops, Counter::kIsIterationInvariantRate);
  state.counters["bytes/s"] = Counter(one.bytes, Counter::kIsIterationInvariantRate);
}

void add_benchmarks(const KernelCase& one, const PreparedKernel& kernel, double min_time) {
  const auto add = [&](const char* who, const std::function<void()>& work) {
    benchmark::RegisterBenchmark(fmt::format("{}/{}/{}", one.op, one.shape, who).c_str(),
                                 [one, work](benchmark::State& state) {
                                   for (auto turn : state) {
                                     static_cast<void>(turn);
                                     work();
                                   }
                                   count_work(state, one);
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond)
        ->MinTime(min_time);
  };
  add("optimized", kernel.optimized);
  add("libtorch", [formula = kernel.reference] { benchmark::DoNotOptimize(formula()); });
}

int execute(const KernelsCommand& command) {
  const c10::NoGradGuard no_grad;
  RunOptions options;
  options.threads = command.threads;
  options.apply_threads();
  std::regex filter;
  try {
    filter = std::regex(command.filter);
  } catch (const std::regex_error& error) {
    throw Error(ErrorCode::kUsage,
                fmt::format("--filter '{}' is no regular expression: {}", command.filter, error.what()));
  }
  at::manual_seed(0);
  int chosen = 0, wrong = 0;
  for (const KernelCase& one : kernel_cases()) {
    if (!std::regex_search(one.op + "/" + one.shape, filter)) continue;
    ++chosen;
    const PreparedKernel kernel = one.prepare();
    // A wrong operator has no time.
    if (!problem_with(one, kernel).empty()) {
      ++wrong;
    } else if (!command.check_only) {
      add_benchmarks(one, kernel, command.min_time);
    }
  }
  if (chosen == 0) throw Error(ErrorCode::kUsage, fmt::format("--filter '{}' chooses no operator", command.filter));
  if (!command.check_only) {
    std::vector<std::string> arguments = {"i2i kernels"};
    arguments.insert(arguments.end(), command.benchmark_flags.begin(), command.benchmark_flags.end());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    int count = static_cast<int>(pointers.size());
    benchmark::Initialize(&count, pointers.data());
    if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return kUsageError;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  }
  fmt::print("{} operators checked, {} wrong\n", chosen, wrong);
  return wrong == 0 ? kPass : kRegression;
}

}  // namespace

void add_kernels(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<KernelsCommand>();
  CLI::App* kernels = app.add_subcommand("kernels", "every fused operator against its formula: checked, then timed");
  kernels->add_option("--filter", command->filter, "regular expression on OPERATOR/SHAPE")->capture_default_str();
  kernels->add_option("--threads", command->threads, "threads to compute with; 0 leaves it to libtorch");
  kernels->add_option("--min-time", command->min_time, "seconds that each is timed for at least")
      ->check(CLI::Range(0.001, 60.0))
      ->capture_default_str();
  kernels->add_flag("--check", command->check_only, "check only, time nothing");
  kernels->allow_extras()->footer("Options that begin with --benchmark_ go to Google Benchmark.");
  kernels->callback([command, kernels, &exit_code] {
    command->benchmark_flags = kernels->remaining();
    for (const std::string& flag : command->benchmark_flags) {
      if (!flag.starts_with("--benchmark_")) throw CLI::ExtrasError(std::vector<std::string>{flag});
    }
    exit_code = execute(*command);
  });
}

}  // namespace i2i
