// A decoded picture: the only pixel container that crosses a layer.
#pragma once

#include <cstdint>
#include <vector>

namespace i2i {

/// RGB, 8 bits a channel, rows from the top, interleaved: rgb[(y * width + x) * 3 + channel].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;

  bool operator==(const Image&) const = default;
};

}  // namespace i2i
