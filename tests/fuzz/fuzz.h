// What the fuzz targets share. A target hands random bytes to one reader, allows nothing but an Error with the reader's
// code, and holds what is accepted to invariants. Only tests/fuzz includes this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "interface/error.h"

/// libFuzzer's own mutation of `data` in place; returns the new size.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace i2i::fuzz {

/// Ends the run where an invariant does not hold; libFuzzer keeps the input and prints the stack.
inline void require(bool holds, const char* invariant) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", invariant);
  std::abort();
}

/// How many inputs came and how many got past the reader: printed at the end, since a run that accepts none proves
/// little. ci/fuzz reads this line.
struct Count {
  std::uint64_t inputs = 0, accepted = 0;
  ~Count() {
    std::printf("accepted %llu of %llu inputs\n", static_cast<unsigned long long>(accepted),
                static_cast<unsigned long long>(inputs));
  }
};
inline Count count;

/// Runs `reader`; whether it accepted. Everything but an Error with `code` escapes and ends the run.
template <typename Reader>
bool accepts(ErrorCode code, const Reader& reader) {
  try {
    reader();
    return true;
  } catch (const Error& error) {
    require(error.code() == code, "a refusal has the reader's code");
    require(error.what()[0] != '\0', "a refusal says why");
    return false;
  }
}

}  // namespace i2i::fuzz
