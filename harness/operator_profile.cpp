#include "harness/operator_profile.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "harness/statistics.h"

namespace i2i {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kBetween = "(between operators)";

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

OperatorTime& OperatorTime::operator+=(const OperatorTime& other) {
  calls += other.calls;
  ms += other.ms;
  flops += other.flops;
  least_ms += other.least_ms;
  return *this;
}

// libtorch's callbacks are plain functions: the profile that they write to hangs on the thread.
struct OperatorProfile::Observer {
  struct Running : at::ObserverContext {
    Clock::time_point start;
    bool counts = false;    ///< an operator that no other operator called
    bool is_block = false;  ///< a range inside a stage
    OperatorWork work;
  };

  static thread_local OperatorProfile* active;
  static thread_local OperatorKey where;  ///< the name left empty; outside all stages the stage too
  static thread_local int depth;

  static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
    auto running = std::make_unique<Running>();
    if (function.scope() == at::RecordScope::USER_SCOPE) {
      running->is_block = !where.stage.empty();
      (running->is_block ? where.block : where.stage) = function.name();
      if (!running->is_block) where.step = static_cast<int>(function.seqNr());
    } else {
      running->counts = depth++ == 0 && !where.stage.empty();
      // Inputs are gone when the call returns.
      if (running->counts) running->work = work_of(function.name(), function.inputs());
    }
    running->start = Clock::now();
    return running;
  }

  static void leave(const at::RecordFunction& function, at::ObserverContext* context) {
    const auto* running = static_cast<const Running*>(context);
    OperatorTime time{1, milliseconds_since(running->start), running->work.flops, 0};
    if (function.scope() == at::RecordScope::USER_SCOPE) {
      active->ranges_[where] += time;
      (running->is_block ? where.block : where.stage).clear();
      return;
    }
    --depth;
    if (!running->counts) return;
    if (active->roofline_.fp32_gflops > 0) time.least_ms = least_ms(active->roofline_, running->work);
    OperatorKey key = where;
    key.name = function.name();
    active->times_[key] += time;
  }
};

thread_local OperatorProfile* OperatorProfile::Observer::active = nullptr;
thread_local OperatorKey OperatorProfile::Observer::where;
thread_local int OperatorProfile::Observer::depth = 0;

OperatorProfile::OperatorProfile(const Roofline& roofline) : roofline_(roofline) {
  Observer::active = this;
  Observer::where = {};
  Observer::depth = 0;
  callback_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&Observer::enter, &Observer::leave)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
}

OperatorProfile::~OperatorProfile() {
  at::removeCallback(callback_);
  Observer::active = nullptr;
}

OperatorTimes OperatorProfile::times() const {
  OperatorTimes rest = ranges_;  // a range's time, less that of all that it holds
  const auto take_from = [&](const OperatorKey& key, double ms) {
    const auto found = rest.find(key);
    if (found != rest.end()) found->second.ms -= ms;
  };
  for (const auto& [key, time] : times_) take_from({key.stage, key.step, key.block, ""}, time.ms);
  for (const auto& [key, time] : ranges_) {
    if (!key.block.empty()) take_from({key.stage, key.step, "", ""}, time.ms);
  }
  OperatorTimes all = times_;
  for (const auto& [key, time] : rest) {
    OperatorKey between = key;
    between.name = kBetween;
    all[between] = time;
  }
  return all;
}

std::vector<OperatorRow> summarize_profiles(const std::vector<OperatorTimes>& runs) {
  std::map<OperatorKey, std::vector<OperatorTime>> samples;
  for (const OperatorTimes& run : runs) {
    OperatorTimes together;
    for (const auto& [key, time] : run) {
      OperatorTime& sum = together[{key.stage, key.step, "", key.name}];
      const int calls = key.name == kBetween ? 1 : sum.calls + time.calls;
      sum += time;
      sum.calls = calls;
    }
    for (const auto& [key, time] : together) samples[key].push_back(time);
  }
  std::vector<OperatorRow> rows;
  for (const auto& [key, times] : samples) {
    std::vector<double> ms;
    for (const OperatorTime& time : times) ms.push_back(time.ms);
    rows.push_back({key.stage, key.step, key.name, operator_kind(key.name), times.back().calls, median_interval(ms),
                    times.back().flops / 1e9, times.back().least_ms});
  }
  return rows;
}

}  // namespace i2i
