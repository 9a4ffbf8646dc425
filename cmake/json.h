// nlohmann::json for the precompiled header, with what nearly every file would instantiate declared as compiled
// elsewhere (cmake/json.cpp): a third of the code that the compiler wrote was the same parser, writer and copy of a
// value each time.
#pragma once

#include <istream>
#include <nlohmann/json.hpp>
#include <string>

// X(value type): what belongs to a value. Y(value type, where text comes from): its parsers.
#define I2I_JSON_VALUES(X) X(nlohmann::json) X(nlohmann::ordered_json)
#define I2I_JSON_PARSERS(Y)                                                                        \
  Y(nlohmann::json, nlohmann::detail::iterator_input_adapter<std::string::const_iterator>)         \
  Y(nlohmann::json, nlohmann::detail::iterator_input_adapter<const char*>)                         \
  Y(nlohmann::json, nlohmann::detail::input_stream_adapter)                                        \
  Y(nlohmann::ordered_json, nlohmann::detail::iterator_input_adapter<std::string::const_iterator>) \
  Y(nlohmann::ordered_json, nlohmann::detail::iterator_input_adapter<const char*>)

#define I2I_JSON_VALUE(prefix, Value) prefix template class nlohmann::detail::serializer<Value>;
#define I2I_JSON_PARSER(prefix, Value, Input)                                      \
  prefix template class nlohmann::detail::lexer<Value, Input>;                     \
  prefix template bool nlohmann::detail::parser<Value, Input>::sax_parse_internal( \
      nlohmann::detail::json_sax_dom_parser<Value>*);                              \
  prefix template bool nlohmann::detail::parser<Value, Input>::sax_parse_internal( \
      nlohmann::detail::json_sax_dom_callback_parser<Value>*);

#define I2I_EXTERN_VALUE(Value) I2I_JSON_VALUE(extern, Value)
#define I2I_EXTERN_PARSER(Value, Input) I2I_JSON_PARSER(extern, Value, Input)
extern template class nlohmann::basic_json<>;
extern template class nlohmann::basic_json<nlohmann::ordered_map>;
I2I_JSON_VALUES(I2I_EXTERN_VALUE)
I2I_JSON_PARSERS(I2I_EXTERN_PARSER)
