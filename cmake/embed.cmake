# Turns a text file into a header with one string_view, byte by byte, so that no character needs quoting.
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE "${OUTPUT}" "#pragma once\n#include <string_view>\nnamespace i2i::embedded {\n"
  "inline constexpr unsigned char k_${SYMBOL}[] = {${bytes}0};\n"
  "inline const std::string_view ${SYMBOL}{reinterpret_cast<const char*>(k_${SYMBOL}), sizeof(k_${SYMBOL}) - 1};\n"
  "}  // namespace i2i::embedded\n")
