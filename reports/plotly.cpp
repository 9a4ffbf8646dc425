#include "reports/plotly.h"

__asm__(
    ".pushsection .rodata\n"
    "i2i_plotly_begin:\n"
    ".incbin \"" I2I_PLOTLY
    "\"\n"
    "i2i_plotly_end:\n"
    ".byte 0\n"
    ".popsection\n");

extern "C" {
extern const char i2i_plotly_begin[] __attribute__((visibility("hidden")));
extern const char i2i_plotly_end[] __attribute__((visibility("hidden")));
}

namespace i2i {

std::string_view plotly_js() { return {i2i_plotly_begin, i2i_plotly_end}; }

}  // namespace i2i
