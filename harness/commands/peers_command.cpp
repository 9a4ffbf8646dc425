// i2i peers: what ci/peers measured beside other programs, as a page, a table or JSON.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "harness/commands/command.h"
#include "harness/peers.h"
#include "interface/error.h"

namespace i2i {
namespace {

struct PeersCommand {
  std::string record, out;
  std::vector<std::string> formats = {"html", "md"};
};

struct Format {
  std::string_view name, file_name;
  std::string (*write)(const PeersReport&);
};
// The record is peers.json and may lie in the folder that is written to.
constexpr Format kFormats[] = {
    {"html", "peers.html", peers_page}, {"md", "peers.md", peers_markdown}, {"json", "peers_report.json", peers_json}};

const Format& format_of(const std::string& name) {
  const auto* const found =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& format) { return format.name == name; });
  if (found == std::end(kFormats))
    throw Error(ErrorCode::kUsage, fmt::format("there is no format '{}' for peers; known: html, md, json", name));
  return *found;
}

int execute(const PeersCommand& command) {
  for (const std::string& name : command.formats) format_of(name);
  const PeersReport report = peers_report(command.record);
  if (command.out.empty()) {
    const bool only_page = command.formats == std::vector<std::string>{"html"};
    if (only_page) fmt::print("{}", peers_markdown(report));
    for (const std::string& name : command.formats) {
      if (name != "html") fmt::print("{}", format_of(name).write(report));
    }
  } else {
    std::filesystem::create_directories(command.out);
    for (const std::string& name : command.formats) {
      const Format& format = format_of(name);
      const auto path = std::filesystem::path(command.out) / format.file_name;
      std::ofstream(path, std::ios::binary) << format.write(report);
      fmt::print("{}\n", path.string());
    }
  }
  int exit_code = kPass;
  for (const PeerRow& row : report.rows) {
    if (row.same_picture) continue;
    fmt::print(stderr, "{}: not the same picture, so no peer: {} asked for\n", peer_name(row), bar_text(row));
    exit_code = kRegression;
  }
  return exit_code;
}

}  // namespace

void add_peers(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<PeersCommand>();
  CLI::App* peers =
      app.add_subcommand("peers", "i2i beside other programs: ratios and pictures of what ci/peers measured");
  peers->add_option("record", command->record, "the peers.json that ci/peers wrote")->required();
  peers->add_option("--out", command->out, "folder for peers.html and the like; without it, Markdown is printed");
  peers->add_option("--format", command->formats, "html, md, json")->delimiter(',')->capture_default_str();
  peers->callback([command, &exit_code] { exit_code = execute(*command); });
}

}  // namespace i2i
