// A subcommand's own report in several formats: a table of writers, looked up by name and written into a folder.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "interface/error.h"

namespace i2i {

template <typename Report>
struct Format {
  std::string_view name, file_name;
  std::string (*write)(const Report&);
};

/// html, md and json of one report.
template <typename Report>
using Formats = std::array<Format<Report>, 3>;

/// @param command  the subcommand, for the message
/// @throws Error(kUsage) naming the known formats
template <typename Report>
const Format<Report>& format_of(const Formats<Report>& formats, const std::string& name, std::string_view command) {
  const auto found =
      std::find_if(formats.begin(), formats.end(), [&](const auto& format) { return format.name == name; });
  if (found == formats.end())
    throw Error(ErrorCode::kUsage, fmt::format("there is no format '{}' for {}; known: html, md, json", name, command));
  return *found;
}

/// Writes the named formats into `folder`, made where it is not there, and prints each file's path.
template <typename Report>
void write_formats(const Formats<Report>& formats, const std::vector<std::string>& names, std::string_view command,
                   const Report& report, const std::string& folder) {
  std::filesystem::create_directories(folder);
  for (const std::string& name : names) {
    const Format<Report>& format = format_of(formats, name, command);
    const auto path = std::filesystem::path(folder) / format.file_name;
    std::ofstream(path, std::ios::binary) << format.write(report);
    fmt::print("{}\n", path.string());
  }
}

}  // namespace i2i
