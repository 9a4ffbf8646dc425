// Reads the JSON files of a model folder, with bounds on size and depth. Also reads what Python's json module writes
// outside of JSON: Infinity and NaN. Called by the loaders of model folders, tokenizers and safetensors headers.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace i2i {

/// Throws Error(kGenerationFailed) with "file: what".
[[noreturn]] void throw_broken_file(const std::string& file, const std::string& what);

/// Whether anything has this name, a link that leads nowhere or in a circle included: such a link is opened, so that
/// the error names it, and not passed over as if it were absent.
bool is_present(const std::filesystem::path& path);

/// The whole file. @throws Error(kGenerationFailed) if it cannot be read or is larger than max_bytes
std::string read_text_file(const std::string& path, std::size_t max_bytes);

/// Parses JSON nested at most 16 deep, in which no object repeats a key. Infinities become the largest doubles and NaN
/// becomes null, since JSON has neither. @throws Error(kGenerationFailed) naming `file`
nlohmann::json parse_json(std::string_view text, const std::string& file);

/// read_text_file and parse_json; the root must be an object.
nlohmann::json read_json_object(const std::string& path);

}  // namespace i2i
