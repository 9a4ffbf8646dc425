#include "interface/unicode_text.h"

#include <fmt/format.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <array>

#include "interface/error.h"

namespace i2i {
namespace {

enum class CharacterClass { kSpace, kLetter, kNumber, kOther };

CharacterClass class_of(UChar32 c) {
  if (u_isUWhiteSpace(c)) return CharacterClass::kSpace;
  const std::uint32_t category = U_GET_GC_MASK(c);
  if (category & U_GC_L_MASK) return CharacterClass::kLetter;
  if (category & U_GC_N_MASK) return CharacterClass::kNumber;
  return CharacterClass::kOther;
}

icu::UnicodeString from_utf8(std::string_view text) {
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())));
}

/// Length of the contraction at `start`, apostrophe included, or 0.
std::int32_t contraction_length(const icu::UnicodeString& text, std::int32_t start) {
  if (text.charAt(start) != u'\'') return 0;
  constexpr std::array<std::u16string_view, 7> kEndings = {u"s", u"t", u"re", u"ve", u"m", u"ll", u"d"};
  for (const std::u16string_view ending : kEndings) {
    const auto length = static_cast<std::int32_t>(ending.size());
    // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): the length goes with it
    if (text.compare(start + 1, length, icu::UnicodeString(ending.data(), length)) == 0) return 1 + length;
  }
  return 0;
}

/// A special token's text that survived until here (written in capitals, say) is a match of its own; the byte-level
/// step then takes it apart. Adds the parts and returns its length, or 0.
std::int32_t split_special(const icu::UnicodeString& text, std::int32_t start, std::vector<std::string>& pieces) {
  for (const char* word : {"startoftext", "endoftext"}) {
    const icu::UnicodeString special = icu::UnicodeString(u"<|").append(icu::UnicodeString(word)).append(u"|>", 2);
    if (text.compare(start, special.length(), special) != 0) continue;
    pieces.insert(pieces.end(), {"<|", word, "|>"});
    return special.length();
  }
  return 0;
}

}  // namespace

std::string normalize_prompt(std::string_view utf8) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  if (U_FAILURE(status)) throw Error(ErrorCode::kGenerationFailed, fmt::format("ICU: {}", u_errorName(status)));
  const icu::UnicodeString composed = nfc->normalize(from_utf8(utf8), status);
  if (U_FAILURE(status)) throw Error(ErrorCode::kGenerationFailed, fmt::format("ICU: {}", u_errorName(status)));

  icu::UnicodeString out;
  bool after_space = false;
  for (std::int32_t i = 0; i < composed.length(); i = composed.moveIndex32(i, 1)) {
    const UChar32 c = composed.char32At(i);
    const bool space = u_isUWhiteSpace(c);
    if (space) {
      if (!after_space) out.append(u' ');
    } else if (c == 0x130) {
      out.append(u'i').append(static_cast<UChar32>(0x307));  // the one character whose lower case is two
    } else {
      out.append(u_tolower(c));
    }
    after_space = space;
  }
  std::string result;
  return out.toUTF8String(result);
}

std::vector<std::string> split_prompt(std::string_view normalized) {
  const icu::UnicodeString text = from_utf8(normalized);
  std::vector<std::string> pieces;
  for (std::int32_t start = 0; start < text.length();) {
    if (const std::int32_t length = split_special(text, start, pieces); length > 0) {
      start += length;
      continue;
    }
    std::int32_t end = start + contraction_length(text, start);
    if (end == start) {
      const CharacterClass first = class_of(text.char32At(start));
      end = text.moveIndex32(start, 1);
      const bool runs = first == CharacterClass::kLetter || first == CharacterClass::kOther;
      while (runs && end < text.length() && class_of(text.char32At(end)) == first) end = text.moveIndex32(end, 1);
      if (first == CharacterClass::kSpace) {
        start = end;
        continue;
      }
    }
    text.tempSubStringBetween(start, end).toUTF8String(pieces.emplace_back());
    start = end;
  }
  return pieces;
}

}  // namespace i2i
