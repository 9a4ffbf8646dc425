// The one place that compiles what cmake/json.h declares.
#include "cmake/json.h"

#define I2I_HERE_VALUE(Value) I2I_JSON_VALUE(, Value)
#define I2I_HERE_PARSER(Value, Input) I2I_JSON_PARSER(, Value, Input)
template class nlohmann::basic_json<>;
template class nlohmann::basic_json<nlohmann::ordered_map>;
I2I_JSON_VALUES(I2I_HERE_VALUE)
I2I_JSON_PARSERS(I2I_HERE_PARSER)
