#include "harness/operator_profile.h"

#include <ATen/record_function.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <utility>

#include "harness/statistics.h"

namespace i2i {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kBetween = "(between operators)";

constexpr std::array<std::pair<const char*, const char*>, 22> kKinds = {{
    {"i2i::conv2d", "convolution"},
    {"i2i::conv2d_winograd", "convolution"},
    {"i2i::conv2d_int8", "convolution"},
    {"i2i::conv2d_winograd_int8", "convolution"},
    {"aten::conv2d", "convolution"},
    {"aten::convolution", "convolution"},
    {"i2i::linear", "linear"},
    {"i2i::linear_int8", "linear"},
    {"aten::linear", "linear"},
    {"aten::addmm", "linear"},
    {"aten::matmul", "linear"},
    {"aten::bmm", "linear"},
    {"i2i::self_attention", "attention"},
    {"i2i::self_attention_int8", "attention"},
    {"i2i::cross_attention", "attention"},
    {"i2i::pack_key_value", "attention"},
    {"aten::scaled_dot_product_attention", "attention"},
    {"aten::softmax", "attention"},
    {"i2i::group_norm_silu", "normalization"},
    {"i2i::layer_norm", "normalization"},
    {"aten::group_norm", "normalization"},
    {"aten::layer_norm", "normalization"},
}};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

// libtorch's callbacks are plain functions: the profile that they write to hangs on the thread.
struct OperatorProfile::Observer {
  struct Running : at::ObserverContext {
    Clock::time_point start = Clock::now();
    bool counts = false;  ///< a stage, or an operator that no other operator called
  };

  static thread_local OperatorProfile* active;
  static thread_local std::string stage;
  static thread_local int step, depth;

  static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
    auto running = std::make_unique<Running>();
    if (function.scope() == at::RecordScope::USER_SCOPE) {
      stage = function.name();
      step = static_cast<int>(function.seqNr());
      running->counts = true;
    } else {
      running->counts = depth++ == 0 && !stage.empty();
    }
    running->start = Clock::now();
    return running;
  }

  static void leave(const at::RecordFunction& function, at::ObserverContext* context) {
    const auto* running = static_cast<const Running*>(context);
    const double ms = milliseconds_since(running->start);
    if (function.scope() == at::RecordScope::USER_SCOPE) {
      active->stage_ms_[{stage, step}] += ms;
      stage.clear();
      return;
    }
    --depth;
    if (!running->counts) return;
    OperatorTime& time = active->times_[{stage, step, function.name()}];
    time.ms += ms;
    ++time.calls;
  }
};

thread_local OperatorProfile* OperatorProfile::Observer::active = nullptr;
thread_local std::string OperatorProfile::Observer::stage;
thread_local int OperatorProfile::Observer::step = -1;
thread_local int OperatorProfile::Observer::depth = 0;

OperatorProfile::OperatorProfile() {
  Observer::active = this;
  Observer::stage.clear();
  Observer::depth = 0;
  callback_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&Observer::enter, &Observer::leave)
                                             .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
}

OperatorProfile::~OperatorProfile() {
  at::removeCallback(callback_);
  Observer::active = nullptr;
}

std::map<OperatorProfile::Key, OperatorTime> OperatorProfile::times() const {
  std::map<Key, OperatorTime> all = times_;
  for (const auto& [where, ms] : stage_ms_) {
    double inside = 0;
    for (const auto& [key, time] : times_) {
      if (std::get<0>(key) == where.first && std::get<1>(key) == where.second) inside += time.ms;
    }
    all[{where.first, where.second, kBetween}] = {1, ms - inside};
  }
  return all;
}

std::vector<OperatorRow> summarize_profiles(const std::vector<std::map<OperatorProfile::Key, OperatorTime>>& runs) {
  std::map<OperatorProfile::Key, std::pair<int, std::vector<double>>> samples;
  for (const auto& run : runs) {
    for (const auto& [key, time] : run) {
      samples[key].first = time.calls;
      samples[key].second.push_back(time.ms);
    }
  }
  std::vector<OperatorRow> rows;
  for (const auto& [key, sample] : samples) {
    const auto& [stage, step, name] = key;
    rows.push_back({stage, step, name, operator_kind(name), sample.first, median_interval(sample.second)});
  }
  return rows;
}

std::string operator_kind(const std::string& name) {
  const auto* found = std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& row) { return name == row.first; });
  return found == kKinds.end() ? "other" : found->second;
}

}  // namespace i2i
