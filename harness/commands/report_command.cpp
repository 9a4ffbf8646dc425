// i2i report: every format again, from a store; nothing is measured.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "harness/commands/command.h"
#include "harness/commands/write_reports.h"
#include "harness/store.h"
#include "interface/json_file.h"
#include "reports/parity.h"

namespace i2i {

std::vector<std::string> write_reports(const Report& report, const std::string& directory,
                                       const std::vector<std::string>& formats) {
  std::vector<std::string> written;
  for (const std::string& format : formats) {
    const ReportWriter* chosen = nullptr;
    std::string known;
    for (const ReportWriter& writer : report_writers()) {
      if (writer.format == format) chosen = &writer;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", writer.format);
    }
    if (chosen == nullptr)
      throw Error(ErrorCode::kUsage, fmt::format("there is no report format '{}'; known: {}", format, known));
    const auto path = (std::filesystem::path(directory) / chosen->file_name).string();
    // Written beside and renamed: a reader never sees half a report.
    std::ofstream(path + ".new", std::ios::binary) << chosen->write(report);
    std::filesystem::rename(path + ".new", path);
    written.push_back(path);
  }
  return written;
}

void add_report(CLI::App& app, int& exit_code) {
  struct ReportCommand {
    std::string directory;
    std::vector<std::string> formats = {"html"};
  };
  auto command = std::make_shared<ReportCommand>();
  CLI::App* report = app.add_subcommand("report", "write reports from a folder of results");
  report->add_option("DIR", command->directory, "the --out folder of a sweep, or of check --against")->required();
  report->add_option("--format", command->formats, "html, md, csv, json, junit, gbench, trace")
      ->delimiter(',')
      ->capture_default_str();
  report->callback([command, &exit_code] {
    const auto parity = std::filesystem::path(command->directory) / "parity.json";
    if (std::filesystem::exists(parity)) {
      const auto page = std::filesystem::path(command->directory) / "parity.html";
      std::ofstream(page, std::ios::binary) << parity_page(parity_from_json(read_json_object(parity.string())));
      fmt::print("{}\n", page.string());
      exit_code = kPass;
      if (!std::filesystem::exists(std::filesystem::path(command->directory) / "results.sqlite")) return;
    }
    const Store store(command->directory, Store::Mode::kReadOnly);
    for (const std::string& path : write_reports(store.report(), command->directory, command->formats))
      fmt::print("{}\n", path);
    exit_code = kPass;
  });
}

}  // namespace i2i
