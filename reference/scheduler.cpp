#include "reference/scheduler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "interface/error.h"

namespace i2i::reference {

const nlohmann::json& SchedulerConfig::take(const std::string& key) {
  static const nlohmann::json null;
  read_.insert(key);
  const auto found = spec_.config.find(key);
  return found == spec_.config.end() ? null : *found;
}

double SchedulerConfig::number(const std::string& key) {
  const auto& value = take(key);
  if (!value.is_number()) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} must be a number, it is {}", spec_.name, key, value.dump()));
  }
  return value.get<double>();
}

int SchedulerConfig::integer(const std::string& key) {
  const double value = number(key);
  if (value != std::floor(value) || std::abs(value) > 1e6) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} must be a whole number, it is {}", spec_.name, key, value));
  }
  return static_cast<int>(value);
}

bool SchedulerConfig::boolean(const std::string& key) {
  const auto& value = take(key);
  if (!value.is_boolean()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: {} must be true or false, it is {}", spec_.name, key, value.dump()));
  }
  return value.get<bool>();
}

std::string SchedulerConfig::one_of(const std::string& key, std::initializer_list<const char*> values) {
  const auto& value = take(key);
  const auto known = std::find(values.begin(), values.end(), value.is_string() ? value.get<std::string>() : "");
  if (known == values.end()) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} {} is not implemented; known are {}", spec_.name, key,
                                               value.dump(), fmt::join(values, ", ")));
  }
  return *known;
}

double SchedulerConfig::number_or(const std::string& key, double fallback) {
  return take(key).is_null() ? fallback : number(key);
}

std::vector<double> SchedulerConfig::numbers_or_none(const std::string& key) {
  const auto& value = take(key);
  if (value.is_null()) return {};
  const bool numbers = value.is_array() && value.size() <= 1000000 &&
                       std::all_of(value.begin(), value.end(), [](const auto& one) { return one.is_number(); });
  if (!numbers) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} must be a list of numbers", spec_.name, key));
  }
  return value.get<std::vector<double>>();
}

void SchedulerConfig::only(const std::string& key, const nlohmann::json& value) {
  const auto& given = take(key);
  if (!given.is_null() && given != value) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: {} {} is not implemented, only {}", spec_.name, key, given.dump(), value.dump()));
  }
}

void SchedulerConfig::without_effect(std::initializer_list<const char*> keys) {
  read_.insert(keys.begin(), keys.end());
}

void SchedulerConfig::finish() const {
  std::vector<std::string> unread;
  for (const auto& [key, value] : spec_.config.items()) {
    if (!key.starts_with('_') && !read_.contains(key)) unread.push_back(key + "=" + value.dump());
  }
  if (!unread.empty()) {
    throw Error(ErrorCode::kUsage, fmt::format("{}: not implemented: {}", spec_.name, fmt::join(unread, ", ")));
  }
}

std::unique_ptr<Scheduler> make_scheduler(const SchedulerSpec& spec, at::ScalarType arithmetic) {
  using Maker = std::unique_ptr<Scheduler> (*)(SchedulerConfig&, at::ScalarType);
  static const std::map<std::string, Maker> makers = {
#define I2I_SCHEDULER(name) {#name, make_##name},
#include "reference/schedulers.inc"
#undef I2I_SCHEDULER
  };
  const auto maker = makers.find(spec.name);
  if (maker == makers.end()) {
    std::vector<std::string> names;
    for (const auto& [name, unused] : makers) names.push_back(name);
    throw Error(ErrorCode::kUsage,
                fmt::format("the reference has no scheduler \"{}\"; it has {}", spec.name, fmt::join(names, ", ")));
  }
  SchedulerConfig config(spec);
  auto scheduler = maker->second(config, arithmetic);
  config.finish();
  return scheduler;
}

}  // namespace i2i::reference
