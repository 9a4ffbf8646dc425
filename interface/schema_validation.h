// Holds a JSON object against one object of the schema file (valijson, draft 7) and says in words what is wrong with
// it. Knows no parameter by name: names, bounds and error codes are read from the schema. Called by request.cpp only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "interface/error.h"

namespace i2i {

/// Everything wrong with `document`, in the order of the schema's properties, unknown fields last. Empty if it is
/// valid. Bounds and patterns give the property's "errorCode", wrong types and everything without one kInvalidRequest.
std::vector<Violation> find_violations(const nlohmann::json& document, const nlohmann::ordered_json& object_schema);

/// Throws them as one Error with the first one's code; does nothing where there are none.
void throw_violations(std::vector<Violation> violations);

/// True where `text` holds nothing but Unicode white space (and U+FEFF, which ECMAScript's \s counts too).
bool is_blank(std::string_view text);

/// `text` cut to what a message can carry, with its length said where something was left out; zero bytes are escaped.
std::string shortened(std::string_view text);

}  // namespace i2i
