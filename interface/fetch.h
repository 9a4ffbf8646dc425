// First half of loading a source picture: from an address to bytes, with bounds on size, time and redirects.
// Knows nothing of pictures. Called by source_image.cpp only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "interface/source_image.h"

namespace i2i {

/// The bytes behind a path, a file://, data:, http:// or https:// address.
/// @throws Error(kSourceImageError) naming the address and what is wrong with it
std::vector<std::uint8_t> fetch(const std::string& address, const SourceLimits& limits);

/// An address as messages show it: data: addresses are cut short.
std::string display_name(const std::string& address);

/// The bytes of standard base64 (RFC 4648 section 4), white space skipped, padding optional.
/// @throws Error(kSourceImageError) at the first character that is not of the alphabet
std::vector<std::uint8_t> decode_base64(std::string_view text);

}  // namespace i2i
