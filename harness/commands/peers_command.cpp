// i2i peers: what ci/peers measured beside other programs, as a page, a table or JSON.
#include <fmt/format.h>

#include "harness/commands/command.h"
#include "harness/commands/formats.h"
#include "harness/peers.h"
#include "interface/error.h"

namespace i2i {
namespace {

struct PeersCommand {
  std::string record, out;
  std::vector<std::string> formats = {"html", "md"};
};

// The record is peers.json and may lie in the folder that is written to.
constexpr Formats<PeersReport> kFormats = {{{"html", "peers.html", peers_page},
                                            {"md", "peers.md", peers_markdown},
                                            {"json", "peers_report.json", peers_json}}};

int execute(const PeersCommand& command) {
  for (const std::string& name : command.formats) format_of(kFormats, name, "peers");
  const PeersReport report = peers_report(command.record);
  if (command.out.empty()) {
    const bool only_page = command.formats == std::vector<std::string>{"html"};
    if (only_page) fmt::print("{}", peers_markdown(report));
    for (const std::string& name : command.formats) {
      if (name != "html") fmt::print("{}", format_of(kFormats, name, "peers").write(report));
    }
  } else {
    write_formats(kFormats, command.formats, "peers", report, command.out);
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
