// The action's input object: JSON text -> Request, checked against image_to_image.schema.json and nothing else.
// Names, ranges and defaults stand in that file only; this header repeats none of them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "interface/error.h"

namespace i2i {

struct Request {
  std::string source_image;
  std::string prompt;
  std::optional<std::string> prompt_2;
  std::string negative_prompt;
  double guidance_scale = 0;
  double image_guidance_scale = 0;
  double strength = 0;
  int steps = 0;
  int batch_size = 0;
  std::optional<std::uint64_t> seed;
  int width = 0;
  int height = 0;
};

/// Parses and validates a request, defaults filled in from the schema.
/// @throws Error with every violation at once; its code is the first violation's.
Request parse_request(std::string_view json_text);
/// Strings are text, although nlohmann::json would take them for a document that is one string.
inline Request parse_request(const std::string& json_text) { return parse_request(std::string_view(json_text)); }
inline Request parse_request(const char* json_text) { return parse_request(std::string_view(json_text)); }

/// The same for a document that is parsed already (sweeps change single fields of one).
Request parse_request(const nlohmann::json& document);

/// The request as a JSON object that parse_request accepts again.
nlohmann::json to_json(const Request& request);

/// image_to_image.schema.json, embedded at build time: {"input": {...}, "output": {...}} under "$defs".
const nlohmann::json& image_to_image_schema();

/// The same file as it stands, its fields in their own order: what `i2i schema` prints.
std::string_view image_to_image_schema_text();

/// {"error": {"code", "message", "violations": [{"pointer", "code", "message"}]}}, what the command line prints.
nlohmann::json to_json(const Error& error);

}  // namespace i2i
