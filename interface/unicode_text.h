// The text half of CLIP's tokenizer: normalisation and splitting into pieces, by ICU's tables. Knows nothing of
// vocabularies. Called by tokenizer.cpp only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace i2i {

/// Unicode NFC, every run of white space as one space, then each character's lower case, without regard to its
/// neighbours. Bytes that are not UTF-8 become U+FFFD.
std::string normalize_prompt(std::string_view utf8);

/// The matches of CLIP's pattern in normalised text, in order: the two special strings (in three parts each),
/// contractions ('s 't 're 've 'm 'll 'd), runs of letters, single number characters, runs of anything that is neither
/// white space, letter nor number.
std::vector<std::string> split_prompt(std::string_view normalized);

}  // namespace i2i
