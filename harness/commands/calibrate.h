// i2i calibrate, which writes a model's int8.json.
#pragma once

#include <CLI/CLI.hpp>

namespace i2i {

void add_calibrate(CLI::App& app, int& exit_code);

}  // namespace i2i
