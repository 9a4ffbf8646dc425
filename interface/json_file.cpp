#include "interface/json_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "interface/error.h"
#include "interface/schema_validation.h"

namespace i2i {
namespace {

constexpr std::size_t kMaxJsonBytes = 64u << 20;
constexpr int kMaxJsonDepth = 16;
// Values are 16 bytes or more each when parsed, so that two bytes of text may become a hundred. The largest file known,
// CLIP's vocabulary, has 49,408.
constexpr std::size_t kMaxJsonValues = 1'000'000;

/// Replaces Infinity, -Infinity and NaN outside of strings.
std::string without_python_numbers(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
      {"-Infinity", "-1.7976931348623157e308"}, {"Infinity", "1.7976931348623157e308"}, {"NaN", "null"}};
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      out += text.substr(i, 2);
      i += 2;
      continue;
    }
    if (text[i] == '"') in_string = !in_string;
    bool replaced = false;
    if (!in_string) {
      for (const auto& [word, number] : kReplacements) {
        if (text.substr(i, word.size()) == word) {
          out += number;
          i += word.size();
          replaced = true;
          break;
        }
      }
    }
    if (!replaced) out += text[i++];
  }
  return out;
}

}  // namespace

void throw_broken_file(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kGenerationFailed, fmt::format("{}: {}", file, what));
}

bool is_present(const std::filesystem::path& path) {
  std::error_code status;
  return std::filesystem::exists(std::filesystem::symlink_status(path, status));
}

std::string read_text_file(const std::string& path, std::size_t max_bytes) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) throw_broken_file(path, "is not there, or is not a file");
  const auto size = std::filesystem::file_size(path, status);
  if (status) throw_broken_file(path, "cannot be read: " + status.message());
  if (size > max_bytes) throw_broken_file(path, fmt::format("has {} bytes, more than the {} allowed", size, max_bytes));
  std::ifstream in(path, std::ios::binary);
  std::string text(size, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(size))) throw_broken_file(path, "cannot be read");
  return text;
}

nlohmann::json parse_json(std::string_view text, const std::string& file) {
  // nlohmann's reader takes a zero byte for the end of its input, and would not look at what follows.
  if (text.find('\0') != text.npos) throw_broken_file(file, "is not JSON: it holds a zero byte");
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::size_t values = 0;
  using Event = nlohmann::json::parse_event_t;
  const auto check = [&](int depth, Event event, nlohmann::json& value) {
    const bool is_value = event == Event::value || event == Event::object_start || event == Event::array_start;
    if (is_value && ++values > kMaxJsonValues)
      throw_broken_file(file, fmt::format("holds more than {} values", kMaxJsonValues));
    if (depth > kMaxJsonDepth) throw_broken_file(file, fmt::format("is nested more than {} deep", kMaxJsonDepth));
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second)
      throw_broken_file(file, fmt::format("says \"{}\" twice", shortened(value.get<std::string>())));
    return true;
  };
  try {
    const bool has_python_numbers = text.find("Infinity") != text.npos || text.find("NaN") != text.npos;
    if (has_python_numbers) return nlohmann::json::parse(without_python_numbers(text), check);
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw_broken_file(file, fmt::format("is not JSON: {}", shortened(error.what())));
  }
}

nlohmann::json read_json_object(const std::string& path) {
  nlohmann::json document = parse_json(read_text_file(path, kMaxJsonBytes), path);
  if (!document.is_object()) throw_broken_file(path, "does not hold a JSON object");
  return document;
}

}  // namespace i2i
