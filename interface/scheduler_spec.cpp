#include "interface/scheduler_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "interface/error.h"
#include "schedulers_json.h"

namespace i2i {
namespace {

using Json = nlohmann::json;

/// Upper case, spaces, hyphens and underscores do not tell names apart.
std::string folded(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (c != ' ' && c != '-' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// The rows of schedulers.json: name, class, aliases with the options they imply, the class's defaults, and arguments
/// of its step that are options here but never part of a scheduler_config.json. JSON has no infinity; the lowest double
/// stands for it.
const Json& rows() {
  static const Json table = Json::parse(embedded::schedulers_json);
  return table;
}

std::string known_names() {
  std::string names;
  for (const Json& row : rows()) {
    names += fmt::format("{}{} ({}", names.empty() ? "" : "; ", row.at("name").get<std::string>(),
                         row.at("class").get<std::string>());
    for (const auto& [alias, implied] : row.at("aliases").items()) names += ", " + alias;
    names += ')';
  }
  return names;
}

Json arguments_of(const Json& row) { return row.value("arguments", Json::object()); }

struct Choice {
  const Json* row = nullptr;
  Json implied = Json::object();
};

Choice find_scheduler(std::string_view name) {
  const std::string wanted = folded(name);
  for (const Json& row : rows()) {
    if (folded(row.at("name").get<std::string>()) == wanted) return {&row};
    if (folded(row.at("class").get<std::string>()) == wanted) return {&row};
    for (const auto& [alias, implied] : row.at("aliases").items())
      if (folded(alias) == wanted) return {&row, implied};
  }
  throw Error(ErrorCode::kUsage, fmt::format("scheduler \"{}\" is not known; known are {}", name, known_names()));
}

/// An option's text as the JSON type that the default has; a default of null takes any JSON value, or else the text.
Json typed_option(const std::string& key, const std::string& text, const Json& default_value) {
  const Json value = Json::parse(text, nullptr, false);
  const auto refuse = [&](const char* needed) {
    throw Error(ErrorCode::kUsage, fmt::format("scheduler option {}={}: {} is needed", key, text, needed));
  };
  if (default_value.is_string()) return text;
  if (default_value.is_boolean() && !value.is_boolean()) refuse("true or false");
  if (default_value.is_number_integer() && !value.is_number_integer()) refuse("a whole number");
  if (default_value.is_number_float()) {
    if (!value.is_number()) refuse("a number");
    return value.get<double>();
  }
  if (default_value.is_null() && value.is_discarded()) return text;
  return value;
}

/// "key=value,key=value"; commas within brackets belong to the value.
Json parse_options(std::string_view text, const Json& row) {
  Json defaults = row.at("defaults");
  defaults.update(arguments_of(row));
  Json options = Json::object();
  while (!text.empty()) {
    std::size_t end = 0;
    for (int depth = 0; end < text.size() && (text[end] != ',' || depth > 0); ++end)
      depth += (text[end] == '[') - (text[end] == ']');
    const std::string option(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = option.find('=');
    if (equals == option.npos || equals == 0)
      throw Error(ErrorCode::kUsage, fmt::format("scheduler option \"{}\" is not of the form key=value", option));
    const std::string key = option.substr(0, equals);
    if (!defaults.contains(key)) {
      std::string known;
      for (const auto& [name, value] : defaults.items()) known += (known.empty() ? "" : ", ") + name;
      throw Error(ErrorCode::kUsage, fmt::format("scheduler option {} is not known to {}; known are {}", key,
                                                 row.at("class").get<std::string>(), known));
    }
    options[key] = typed_option(key, option.substr(equals + 1), defaults.at(key));
  }
  return options;
}

/// diffusers' constructor of the SD 1 and 2 image-to-image pipeline repairs the configuration of the scheduler that it
/// is given. A key that stands in the JSON stays repaired when another scheduler is made from it.
bool repairs_scheduler(const ModelConfig& model) { return !model.is_sdxl() && !model.takes_source_as_condition(); }

void repair(Json& config) {
  if (config.contains("steps_offset") && config.at("steps_offset") != 1) config["steps_offset"] = 1;
  if (config.contains("clip_sample") && config.at("clip_sample") == true) config["clip_sample"] = false;
}

/// A value of scheduler_config.json as its default's type. Python takes null for false, and whole doubles for integers.
Json fitted_value(const std::string& key, const Json& value, const Json& default_value) {
  if (default_value.is_null()) return value;
  if (value.is_null()) return default_value.is_boolean() ? Json(false) : default_value;
  if (default_value.is_number_float() && value.is_number()) return value.get<double>();
  constexpr double kLargestWhole = 9007199254740992.0;  // 2^53: above it a double no longer tells neighbours apart
  if (default_value.is_number_integer() && value.is_number_float()) {
    const double number = value.get<double>();
    if (number == std::trunc(number) && std::abs(number) <= kLargestWhole) return static_cast<std::int64_t>(number);
  }
  const bool both_integers = default_value.is_number_integer() && value.is_number_integer();
  if (!both_integers && value.type() != default_value.type())
    throw Error(ErrorCode::kGenerationFailed,
                fmt::format("scheduler config: {} is {}, its default is {}", key, value.dump(), default_value.dump()));
  return value;
}

Json effective_config(const Json& defaults, const Json& present) {
  Json config = defaults;
  for (const auto& [key, value] : present.items())
    if (defaults.contains(key)) config[key] = fitted_value(key, value, defaults.at(key));
  return config;
}

/// The keys that scheduler_config.json really gives: those that it lists as mere defaults do not count.
Json given_config(const ModelConfig& model) {
  Json given = model.scheduler.is_object() ? model.scheduler : Json::object();
  const Json defaulted = given.value("_use_default_values", Json::array());
  for (const Json& key : defaulted)
    if (key.is_string()) given.erase(key.get<std::string>());
  return given;
}

SchedulerSpec spec_of(const Json& row, Json config) {
  return {row.at("name").get<std::string>(), row.at("class").get<std::string>(), std::move(config)};
}

/// The scheduler that the model was published with. Unlike one made from its configuration, it is repaired in its class
/// defaults as well.
SchedulerSpec own_scheduler(const ModelConfig& model) {
  const Json given = given_config(model);
  const Json named = given.value("_class_name", Json());
  const std::string class_name = named.is_string() ? named.get<std::string>() : "";
  for (const Json& row : rows()) {
    if (row.at("class") != class_name) continue;
    Json config = effective_config(row.at("defaults"), given);
    if (repairs_scheduler(model)) repair(config);
    return spec_of(row, std::move(config));
  }
  throw Error(ErrorCode::kUsage,
              fmt::format("{}'s own scheduler, {}, is not implemented; choose one of {}", model.name,
                          class_name.empty() ? "which it does not name" : class_name, known_names()));
}

}  // namespace

SchedulerSpec resolve_scheduler(const std::string& text, const ModelConfig& model) {
  if (text.empty()) return own_scheduler(model);
  const std::size_t colon = text.find(':');
  const Choice choice = find_scheduler(std::string_view(text).substr(0, colon));
  Json present = given_config(model);
  if (repairs_scheduler(model)) repair(present);
  present.update(choice.implied);
  Json options = Json::object();
  if (colon != text.npos) options = parse_options(std::string_view(text).substr(colon + 1), *choice.row);
  present.update(options);
  Json config = effective_config(choice.row->at("defaults"), present);
  const Json arguments = arguments_of(*choice.row);
  for (const auto& [key, value] : options.items()) {
    if (arguments.contains(key)) config[key] = value;
  }
  return spec_of(*choice.row, std::move(config));
}

const std::vector<SchedulerDescription>& known_schedulers() {
  static const std::vector<SchedulerDescription> descriptions = [] {
    std::vector<SchedulerDescription> all;
    for (const Json& row : rows()) {
      SchedulerDescription& description = all.emplace_back();
      description.name = row.at("name").get<std::string>();
      description.class_name = row.at("class").get<std::string>();
      description.defaults = row.at("defaults");
      for (const auto& [alias, implied] : row.at("aliases").items()) description.aliases.push_back(alias);
    }
    return all;
  }();
  return descriptions;
}

}  // namespace i2i
