#include "interface/schema_validation.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "interface/edit_distance.h"

namespace i2i {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kLongestQuote = 120;
constexpr double kTwoTo63 = 9223372036854775808.0;

std::string quoted(const json& value) {
  // Never dumped: both may be nested deeper than the stack.
  if (value.is_array()) return fmt::format("an array of {} values", value.size());
  if (value.is_object()) return fmt::format("an object of {} fields", value.size());
  if (value.is_string() && value.get_ref<const std::string&>().size() > kLongestQuote) {
    return '"' + shortened(value.get_ref<const std::string&>()) + '"';
  }
  return shortened(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

bool has_type(const json& value, std::string_view type) {
  return (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "integer" && value.is_number_integer()) || (type == "null" && value.is_null()) ||
         (type == "boolean" && value.is_boolean()) || (type == "array" && value.is_array()) ||
         (type == "object" && value.is_object());
}

std::vector<std::string> allowed_types(const ordered_json& rules) {
  const auto& type = rules.at("type");
  if (type.is_string()) return {type.get<std::string>()};
  return type.get<std::vector<std::string>>();
}

/// What breaks a property's rules, in words.
struct Reason {
  std::string text;
  bool wrong_type = false;
};

/// The first rule of a property that `value` breaks; nothing where valijson knows of one that this function does not.
std::optional<Reason> broken_rule(const ordered_json& rules, const json& value) {
  const std::vector<std::string> types = allowed_types(rules);
  const auto accepts = [&](const std::string& type) { return has_type(value, type); };
  // An integer literal beyond 64 bits arrives as a float: that is out of bounds, not of the wrong type.
  const bool huge_integer = value.is_number_float() && std::abs(value.get<double>()) >= kTwoTo63 &&
                            std::find(types.begin(), types.end(), "integer") != types.end();
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    return Reason{fmt::format("{} is not a finite number", value.get<double>()), true};
  }
  if (!huge_integer && std::none_of(types.begin(), types.end(), accepts)) {
    return Reason{fmt::format("{} is not of type {}", quoted(value), fmt::join(types, " or ")), true};
  }
  if (value.is_number()) {
    const double number = value.get<double>();
    if (rules.contains("exclusiveMinimum") && number <= rules["exclusiveMinimum"].get<double>()) {
      return Reason{fmt::format("{} is not above {}", quoted(value), rules["exclusiveMinimum"].dump())};
    }
    if (rules.contains("minimum") && number < rules["minimum"].get<double>()) {
      return Reason{fmt::format("{} is below the minimum {}", quoted(value), rules["minimum"].dump())};
    }
    if (rules.contains("maximum") && number > rules["maximum"].get<double>()) {
      return Reason{fmt::format("{} is above the maximum {}", quoted(value), rules["maximum"].dump())};
    }
  }
  // std::regex sees bytes and knows ASCII's white space only; the pattern means Unicode's.
  if (value.is_string() && rules.contains("pattern") && rules["pattern"] == "\\S" &&
      is_blank(value.get_ref<const std::string&>())) {
    return Reason{value.get_ref<const std::string&>().empty() ? "is empty" : "holds nothing but white space"};
  }
  return std::nullopt;
}

ErrorCode code_of(const ordered_json& rules) {
  if (!rules.contains("errorCode")) return ErrorCode::kInvalidRequest;
  const auto name = rules["errorCode"].get<std::string>();
  for (const ErrorCode code :
       {ErrorCode::kInvalidConnection, ErrorCode::kSourceImageError, ErrorCode::kEmptyPrompt,
        ErrorCode::kInvalidStrength, ErrorCode::kInvalidGuidance, ErrorCode::kInvalidSteps,
        ErrorCode::kBatchSizeExceeded, ErrorCode::kInvalidRequest, ErrorCode::kGenerationFailed}) {
    if (to_string(code) == name) return code;
  }
  throw std::logic_error("the schema names an error code that does not exist: " + name);
}

std::string pointer_to(std::string_view field) {
  std::string pointer = "/";
  for (const char c : shortened(field)) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
  return pointer;
}

std::string unknown_field_message(const std::string& field, const ordered_json& properties) {
  if (field.size() <= kLongestQuote) {
    for (const auto& [name, rules] : properties.items()) {
      if (edit_distance(field, name) <= 2) return "is not a field of a request; did you mean " + name + "?";
    }
  }
  return "is not a field of a request";
}

/// What valijson says: field -> its words, "" for the object itself. Empty where the document is valid.
std::map<std::string, std::string> refusals(const json& document, const ordered_json& object_schema) {
  const json plain = object_schema;
  const valijson::adapters::NlohmannJsonAdapter schema_adapter(plain);
  valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
  valijson::Schema schema;
  parser.populateSchema(schema_adapter, schema);

  valijson::Validator validator(valijson::Validator::kStrongTypes);
  valijson::ValidationResults results;
  const valijson::adapters::NlohmannJsonAdapter document_adapter(document);
  std::map<std::string, std::string> refused;
  if (validator.validate(schema, document_adapter, &results)) return refused;
  for (const auto& error : results) {
    const std::string field =
        error.context.size() < 2 ? "" : error.context[1].substr(1, error.context[1].size() - 2);  // "[field]"
    refused.emplace(field, error.description);
  }
  if (refused.empty()) refused.emplace("", "does not match the schema");
  return refused;
}

}  // namespace

std::vector<Violation> find_violations(const json& document, const ordered_json& object_schema) {
  if (!document.is_object()) {
    return {{"", ErrorCode::kInvalidRequest, fmt::format("{} is not of type object", quoted(document))}};
  }
  const ordered_json& properties = object_schema.at("properties");
  const auto required = object_schema.at("required").get<std::set<std::string>>();
  const std::map<std::string, std::string> refused = refusals(document, object_schema);

  std::vector<Violation> violations;
  for (const auto& [name, rules] : properties.items()) {
    if (!document.contains(name)) {
      if (required.count(name) != 0) violations.push_back({pointer_to(name), code_of(rules), "is missing"});
      continue;
    }
    // Asked for every field, not only the refused ones: valijson lets NaN and Unicode's white space pass.
    if (const auto reason = broken_rule(rules, document[name])) {
      violations.push_back(
          {pointer_to(name), reason->wrong_type ? ErrorCode::kInvalidRequest : code_of(rules), reason->text});
    } else if (const auto refusal = refused.find(name); refusal != refused.end()) {
      violations.push_back({pointer_to(name), code_of(rules), refusal->second});
    }
  }
  for (const auto& [name, value] : document.items()) {
    if (!properties.contains(name)) {
      violations.push_back({pointer_to(name), ErrorCode::kInvalidRequest, unknown_field_message(name, properties)});
    }
  }
  if (violations.empty() && !refused.empty()) {
    violations.push_back({"", ErrorCode::kInvalidRequest, refused.begin()->second});
  }
  return violations;
}

void throw_violations(std::vector<Violation> violations) {
  if (violations.empty()) return;
  std::string message;
  for (const Violation& violation : violations) {
    if (!message.empty()) message += "; ";
    message += violation.pointer.empty() ? violation.message : violation.pointer + ": " + violation.message;
  }
  const ErrorCode code = violations.front().code;
  throw Error(code, message, std::move(violations));
}

bool is_blank(std::string_view text) {
  static constexpr std::array<std::string_view, 20> kWhiteSpace = {
      "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80",  // next line, no-break space, ogham space mark
      "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85",
      "\xE2\x80\x86", "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A",  // the typographic spaces
      "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80", "\xEF\xBB\xBF"};
  while (!text.empty()) {
    if (text.front() == ' ' || (text.front() >= '\t' && text.front() <= '\r')) {
      text.remove_prefix(1);
      continue;
    }
    const auto space = std::find_if(kWhiteSpace.begin(), kWhiteSpace.end(),
                                    [&](std::string_view s) { return text.substr(0, s.size()) == s; });
    if (space == kWhiteSpace.end()) return false;
    text.remove_prefix(space->size());
  }
  return true;
}

std::string shortened(std::string_view text) {
  std::string result(text.substr(0, kLongestQuote));
  // An exception's message ends at its first zero byte.
  for (std::size_t at; (at = result.find('\0')) != std::string::npos;) result.replace(at, 1, "\\u0000");
  if (text.size() > kLongestQuote) result += fmt::format("... ({} bytes)", text.size());
  return result;
}

}  // namespace i2i
