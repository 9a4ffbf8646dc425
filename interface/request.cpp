#include "interface/request.h"

#include <fmt/format.h>

#include <set>
#include <utility>
#include <vector>

#include "image_to_image_schema_json.h"
#include "interface/schema_validation.h"

namespace i2i {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A data: address of the largest source (64 MiB) is 86 MiB of base64; the rest of a request is small.
constexpr std::size_t kMaxTextBytes = std::size_t{96} << 20;
// A request is one flat object. Anything deep or long is refused while it is read, before it costs memory.
constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxValues = 10'000;

/// Keeps the order of the file, which is the order of violations.
const ordered_json& ordered_schema() {
  static const ordered_json schema = ordered_json::parse(embedded::image_to_image_schema_json);
  return schema;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidRequest, message, {{"", ErrorCode::kInvalidRequest, message}});
}

/// nlohmann's words without its exception number, cut where they quote a long token.
std::string reason_of(const json::exception& error) {
  const std::string_view words = error.what();
  const auto end_of_number = words.find("] ");
  return shortened(end_of_number == std::string_view::npos ? words : words.substr(end_of_number + 2));
}

json parse_bounded(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    refuse(fmt::format("the request is {} bytes long, more than the {} allowed", text.size(), kMaxTextBytes));
  }
  // nlohmann's reader takes a zero byte for the end of its input.
  if (text.find('\0') != std::string_view::npos) refuse("the request is not JSON: it holds a zero byte");
  std::vector<std::set<std::string>> fields_of_open_objects;
  std::size_t values = 0;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) refuse(fmt::format("the request is nested deeper than {} levels", kMaxDepth));
    switch (event) {
      case json::parse_event_t::object_start:
        fields_of_open_objects.emplace_back();
        break;
      case json::parse_event_t::object_end:
        fields_of_open_objects.pop_back();
        break;
      case json::parse_event_t::key:
        if (!fields_of_open_objects.back().insert(parsed.get<std::string>()).second) {
          refuse(fmt::format("the field {} stands in one object twice", shortened(parsed.get<std::string>())));
        }
        break;
      case json::parse_event_t::value:
      case json::parse_event_t::array_start:
        if (++values > kMaxValues) refuse(fmt::format("the request holds more than {} values", kMaxValues));
        break;
      case json::parse_event_t::array_end:
        break;
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    refuse("the request is not JSON: " + reason_of(error));
  }
}

std::optional<std::string> optional_string(const json& value) {
  if (value.is_null()) return std::nullopt;
  return value.get<std::string>();
}

/// `text` with invalid UTF-8 replaced, so that the result can always be printed.
json printable(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

Request parse_request(std::string_view json_text) { return parse_request(parse_bounded(json_text)); }

Request parse_request(const json& document) {
  const json& schema = image_to_image_schema()["$defs"]["input"];
  throw_violations(find_violations(document, ordered_schema()["$defs"]["input"]));
  const auto value = [&](const char* name) -> const json& {
    const auto given = document.find(name);
    return given != document.end() ? *given : schema.at("properties").at(name).at("default");
  };
  Request request;
  request.source_image = value("source_image").get<std::string>();
  request.prompt = value("prompt").get<std::string>();
  request.prompt_2 = optional_string(value("prompt_2"));
  request.negative_prompt = value("negative_prompt").get<std::string>();
  request.guidance_scale = value("guidance_scale").get<double>();
  request.image_guidance_scale = value("image_guidance_scale").get<double>();
  request.strength = value("strength").get<double>();
  request.steps = value("steps").get<int>();
  request.batch_size = value("batch_size").get<int>();
  if (!value("seed").is_null()) request.seed = value("seed").get<std::uint64_t>();
  request.width = value("width").get<int>();
  request.height = value("height").get<int>();
  return request;
}

json to_json(const Request& request) {
  return {{"source_image", request.source_image},
          {"prompt", request.prompt},
          {"prompt_2", request.prompt_2 ? json(*request.prompt_2) : json()},
          {"negative_prompt", request.negative_prompt},
          {"guidance_scale", request.guidance_scale},
          {"image_guidance_scale", request.image_guidance_scale},
          {"strength", request.strength},
          {"steps", request.steps},
          {"batch_size", request.batch_size},
          {"seed", request.seed ? json(*request.seed) : json()},
          {"width", request.width},
          {"height", request.height}};
}

const json& image_to_image_schema() {
  static const json schema = ordered_schema();
  return schema;
}

std::string_view image_to_image_schema_text() { return embedded::image_to_image_schema_json; }

json to_json(const Error& error) {
  json violations = json::array();
  for (const Violation& violation : error.violations()) {
    violations.push_back({{"pointer", printable(violation.pointer)},
                          {"code", to_string(violation.code)},
                          {"message", printable(violation.message)}});
  }
  return {
      {"error", {{"code", to_string(error.code())}, {"message", printable(error.what())}, {"violations", violations}}}};
}

}  // namespace i2i
