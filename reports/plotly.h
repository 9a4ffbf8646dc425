// plotly.js (MIT licence, its notice is the file's first lines), linked into the program so that every report.html
// stands alone.
#pragma once

#include <string_view>

namespace i2i {

std::string_view plotly_js();

}  // namespace i2i
