#include "harness/sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <sstream>

#include "harness/implementations.h"
#include "harness/metrics/metric.h"
#include "harness/presets.h"

namespace i2i {
namespace {

using nlohmann::json;

const std::vector<std::string> kRequestAxes = {
    "strength", "guidance_scale", "image_guidance_scale", "steps",       "batch_size", "seed",
    "prompt",   "prompt_2",       "negative_prompt",      "source_image"};
const std::vector<std::string> kOptionAxes = {
    "model", "scheduler", "dtype", "preset", "features", "guidance_rescale", "size", "loras", "reference_dtype"};

bool is_one_of(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string as_text(const json& value) {
  if (!value.is_array()) return value.is_string() ? value.get<std::string>() : value.dump();
  std::vector<std::string> texts;  // LoRA files
  for (const json& item : value) texts.push_back(as_text(item));
  return texts.empty() ? "none" : fmt::format("{}", fmt::join(texts, " + "));
}

json load_document(const std::string& path) {
  try {
    return json::parse(read_text(path));
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kUsage, fmt::format("{} is not a JSON document: {}", path, error.what()));
  }
}

void check_keys(const json& document, const std::string& path) {
  static const std::vector<std::string> known = {"name",    "description",    "model",    "model_config", "scheduler",
                                                 "dtype",   "preset",         "features", "request",      "axes",
                                                 "metrics", "bounds",         "warmup",   "repetitions",  "promises",
                                                 "profile", "reference_dtype"};
  if (!document.is_object()) throw Error(ErrorCode::kUsage, fmt::format("{}: a sweep is a JSON object", path));
  for (const auto& [key, value] : document.items()) {
    if (!is_one_of(key, known)) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("{}: there is no key '{}'; known: {}", path, key, fmt::join(known, ", ")));
    }
  }
  if (!document.contains("request") || !document["request"].is_object()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: 'request' must be an object, the request that all cells share", path));
  }
}

// "name=v1,v2": numbers stay numbers where the axis is one of the request's.
void apply_override(json& document, const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw Error(ErrorCode::kUsage, fmt::format("--axis {}: expected name=value,value", text));
  }
  const std::string name = text.substr(0, equals);
  json values = json::array();
  std::istringstream parts(text.substr(equals + 1));
  for (std::string part; std::getline(parts, part, ',');) {
    const json number = json::parse(part, nullptr, false);
    values.push_back(is_one_of(name, kRequestAxes) && number.is_number() ? number : json(part));
  }
  document["axes"][name] = values;
}

std::vector<std::pair<std::string, std::vector<json>>> read_axes(const json& document) {
  std::vector<std::pair<std::string, std::vector<json>>> axes;
  const json& given = document.value("axes", json::object());
  // In axis_names' order, whatever the file's: a store must find its cells again.
  for (const std::string& name : axis_names()) {
    if (!given.contains(name)) continue;
    if (!given[name].is_array() || given[name].empty()) {
      throw Error(ErrorCode::kUsage, fmt::format("axis '{}' needs a list of at least one value", name));
    }
    axes.emplace_back(name, given[name].get<std::vector<json>>());
  }
  for (const auto& [name, values] : given.items()) {
    if (!is_one_of(name, axis_names())) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("there is no axis '{}'; known: {}", name, fmt::join(axis_names(), ", ")));
    }
  }
  return axes;
}

// "none", one file, or a list of files, each with a weight if wanted.
std::vector<LoraFile> read_loras(const json& value, const std::string& sweep_file) {
  std::vector<LoraFile> loras;
  if (value == "none") return loras;
  for (const json& text : value.is_array() ? value : json::array({value})) {
    if (!text.is_string())
      throw Error(ErrorCode::kUsage, fmt::format("loras: {} is no FILE[:WEIGHT], none, or list of them", value.dump()));
    loras.push_back(parse_lora(text.get<std::string>()));
    loras.back().path = resolve_source(loras.back().path, sweep_file);
  }
  return loras;
}

void apply_axis(Cell& cell, json& request, const std::string& name, const json& value, const std::string& sweep_file) {
  const std::string text = as_text(value);
  if (is_one_of(name, kRequestAxes)) {
    request[name] = value;
  } else if (name == "model") {
    cell.model = text;
  } else if (name == "scheduler") {
    cell.scheduler = text;
  } else if (name == "dtype") {
    cell.dtype = text;
  } else if (name == "reference_dtype") {
    cell.reference_dtype = text;
  } else if (name == "preset") {
    cell.preset = text;
  } else if (name == "features") {
    cell.features = text;
  } else if (name == "loras") {
    cell.loras = read_loras(value, sweep_file);
  } else if (name == "guidance_rescale") {
    cell.guidance_rescale = parse_guidance_rescale(text);
  } else {  // size: "64x48"
    static const std::regex kSize("([0-9]{1,5})x([0-9]{1,5})");
    std::smatch parts;
    if (!std::regex_match(text, parts, kSize)) {
      throw Error(ErrorCode::kUsage, fmt::format("size '{}': expected WIDTHxHEIGHT, for instance 64x48", text));
    }
    request["width"] = std::stoi(parts[1]);
    request["height"] = std::stoi(parts[2]);
  }
}

std::optional<PromiseSettings> read_promises(const json& document) {
  if (!document.contains("promises")) return std::nullopt;
  const json& given = document["promises"];
  if (!given.is_object()) throw Error(ErrorCode::kUsage, "'promises' must be an object with 'cases' and 'steps'");
  PromiseSettings settings;
  for (const auto& [key, value] : given.items()) {
    if (key != "cases" && key != "steps") {
      throw Error(ErrorCode::kUsage, fmt::format("'promises' has no key '{}'; known: cases, steps", key));
    }
    constexpr int kMost = 50;  // the action's most steps; there are fewer cases, which are counted below
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > kMost) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("promises.{} is {}: a whole number from 1 to {} is needed", key, value.dump(), kMost));
    }
    (key == "cases" ? settings.cases : settings.steps) = value.get<int>();
  }
  load_promise_cases(settings.cases);  // too many are refused before anything is measured
  return settings;
}

}  // namespace

const std::vector<std::string>& axis_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = kOptionAxes;
    all.insert(all.end(), kRequestAxes.begin(), kRequestAxes.end());
    return all;
  }();
  return names;
}

std::string read_text(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kUsage, fmt::format("{} cannot be opened", path));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string resolve_source(const std::string& source, const std::string& file) {
  const bool is_address = source.starts_with("data:") || source.find("://") != std::string::npos;
  if (source.empty() || is_address || std::filesystem::path(source).is_absolute() || file == "-") return source;
  return (std::filesystem::absolute(file).parent_path() / source).lexically_normal().string();
}

Sweep load_sweep(const std::string& path, const std::vector<std::string>& overrides) {
  Sweep sweep;
  json document = load_document(path);
  check_keys(document, path);
  for (const std::string& text : overrides) apply_override(document, text);
  const auto axes = read_axes(document);
  sweep.name = document.value("name", std::filesystem::path(path).stem().string());
  sweep.warmup = document.value("warmup", sweep.warmup);
  sweep.repetitions = document.value("repetitions", sweep.repetitions);
  sweep.profile = document.value("profile", sweep.profile);
  sweep.metrics = document.value("metrics", std::vector<std::string>{"ssim", "lpips", "psnr"});
  sweep.bounds = document.value("bounds", json::object());
  sweep.promises = read_promises(document);
  sweep.document = document;
  for (const std::string& name : sweep.metrics) metric_by_name(name);
  if (sweep.repetitions < 1 || sweep.warmup < 0 || sweep.profile < 0)
    throw Error(ErrorCode::kUsage, fmt::format("repetitions {} must be at least 1, warmup {} and profile {} at least 0",
                                               sweep.repetitions, sweep.warmup, sweep.profile));

  std::size_t count = 1;
  for (const auto& [name, values] : axes) {
    count *= values.size();
    std::vector<std::string> texts;
    for (const json& value : values) texts.push_back(as_text(value));
    sweep.axes.emplace_back(name, texts);
  }
  for (std::size_t index = 0; index < count; ++index) {
    Cell cell;
    cell.index = static_cast<int>(index);
    cell.model = document.value("model", "scenes");
    cell.scheduler = document.value("scheduler", "");
    cell.dtype = document.value("dtype", "fp32");
    cell.reference_dtype = document.value("reference_dtype", "fp32");
    cell.preset = document.value("preset", "");
    cell.features = document.value("features", "");
    json request = document["request"];
    std::size_t rest = index, block = count;
    for (const auto& [name, values] : axes) {
      block /= values.size();
      const json& value = values[rest / block];
      rest %= block;
      apply_axis(cell, request, name, value, path);
      cell.axes.emplace_back(name, as_text(value));
      cell.key += fmt::format("{}{}={}", cell.key.empty() ? "" : " ", name, as_text(value));
    }
    if (request.contains("source_image") && request["source_image"].is_string()) {
      request["source_image"] = resolve_source(request["source_image"].get<std::string>(), path);
    }
    parse_dtype(cell.dtype);
    parse_dtype(cell.reference_dtype);
    parse_features(features_of(cell.preset, cell.features));
    try {
      cell.request = parse_request(request);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("cell {} ({}): {}", index, cell.key, error.what()), error.violations());
    }
    sweep.cells.push_back(std::move(cell));
  }
  return sweep;
}

}  // namespace i2i
