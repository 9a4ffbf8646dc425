// How far a typo is from a word: what "did you mean ...?" goes by. Used for request fields, subcommands and flags.
#pragma once

#include <cstddef>
#include <string_view>

namespace i2i {

/// Levenshtein distance: the fewest letters to insert, delete or replace.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace i2i
