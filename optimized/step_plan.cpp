#include "optimized/step_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "interface/error.h"

namespace i2i {
namespace {

void check(const StepSavings& savings) {
  constexpr int kLongest = 50;  // the most steps that a request may have
  if (savings.reuse_interval < 1 || savings.reuse_interval > kLongest) {
    throw Error(ErrorCode::kUsage, fmt::format("feature_reuse: an interval of {} steps is outside [1, {}]",
                                               savings.reuse_interval, kLongest));
  }
  if (savings.reuse_depth < 1) {
    throw Error(ErrorCode::kUsage,
                fmt::format("feature_reuse: a depth of {} resnets is below the minimum 1", savings.reuse_depth));
  }
  if (!(0 <= savings.reuse_from && savings.reuse_from < 1)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("feature_reuse: reuse from {} of the steps on is outside [0, 1)", savings.reuse_from));
  }
  const double from = savings.guidance_from, to = savings.guidance_to;
  if (!(0 <= from && from < to && to <= 1)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("guidance_interval: from {} to {} is not an interval in [0, 1]", from, to));
  }
}

template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  return problem == std::errc() && end == text.data() + text.size();
}

/// "a", "a:b" and so on; numbers that are not given keep their values.
template <typename First, typename... Rest>
bool read_numbers(std::string_view text, First& first, Rest&... rest) {
  const auto colon = text.find(':');
  if (!read_number(text.substr(0, colon), first)) return false;
  if (colon == std::string_view::npos) return true;
  if constexpr (sizeof...(rest) > 0) return read_numbers(text.substr(colon + 1), rest...);
  return false;
}

}  // namespace

const std::vector<StepFeature>& step_features() {
  static const std::vector<StepFeature> kAll = {
      {"feature_reuse", "INTERVAL[:DEPTH[:FROM]]", "2:4",
       "the whole UNet every INTERVAL steps; between them its DEPTH outermost resnets on either side, on the deep "
       "features of the last whole one; up to the share FROM of the steps, all are whole"},
      {"guidance_interval", "FROM:TO", "0:0.8",
       "guidance from one share of the steps to another; before and after, one row in place of two or three"},
  };
  return kAll;
}

bool switch_on(StepSavings& savings, const std::string& name, const std::string& value) {
  const auto feature =
      std::find_if(step_features().begin(), step_features().end(), [&](const auto& one) { return one.name == name; });
  if (feature == step_features().end()) return false;
  const std::string& text = value.empty() ? feature->standard : value;
  StepSavings wanted = savings;
  bool understood = false;
  if (name == "feature_reuse") {
    wanted.reuse_depth = 1;
    wanted.reuse_from = 0;
    understood = read_numbers(text, wanted.reuse_interval, wanted.reuse_depth, wanted.reuse_from);
  } else {
    understood = text.find(':') != std::string::npos && read_numbers(text, wanted.guidance_from, wanted.guidance_to);
  }
  if (!understood) {
    throw Error(ErrorCode::kUsage, fmt::format("{}={}: expected {}, for instance {}={}", name, value, feature->form,
                                               name, feature->standard));
  }
  check(wanted);
  savings = wanted;
  return true;
}

bool switch_off(StepSavings& savings, const std::string& name) {
  const StepSavings none;
  if (name == "feature_reuse") {
    savings.reuse_interval = none.reuse_interval;
  } else if (name == "guidance_interval") {
    savings.guidance_from = none.guidance_from;
    savings.guidance_to = none.guidance_to;
  } else {
    return false;
  }
  return true;
}

std::vector<StepWork> plan_steps(const StepSavings& savings, const std::vector<double>& timesteps,
                                 std::size_t resnets_up) {
  check(savings);
  if (savings.reuse_interval > 1 && static_cast<std::size_t>(savings.reuse_depth) > resnets_up) {
    throw Error(ErrorCode::kUsage,
                fmt::format("feature_reuse: a depth of {} resnets is above the maximum {} of this UNet",
                            savings.reuse_depth, resnets_up));
  }
  const std::size_t steps = timesteps.size();
  std::vector<StepWork> plan(steps);
  std::size_t first_at_level = 0, last_whole = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    if (timesteps[i] != timesteps[first_at_level]) first_at_level = i;
    const double position = static_cast<double>(first_at_level) / static_cast<double>(steps);
    plan[i].guided = savings.guidance_from <= position && position < savings.guidance_to;
    // A row that the last whole step did not evaluate has no deep features yet.
    const bool lacks_rows = plan[i].guided && !plan[last_whole].guided;
    plan[i].whole = i == 0 || position < savings.reuse_from ||
                    i - last_whole >= static_cast<std::size_t>(savings.reuse_interval) || lacks_rows;
    if (plan[i].whole) last_whole = i;
  }
  return plan;
}

}  // namespace i2i
