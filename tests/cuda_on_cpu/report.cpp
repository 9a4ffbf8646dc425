// Issues: each kind and place once, with who met it and the line of source.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

std::string kernel_name;
std::set<std::pair<std::string, const void*>> reported;

}  // namespace

bool Report::has(const std::string& kind) const {
  return std::any_of(issues.begin(), issues.end(), [&](const Issue& issue) { return issue.kind == kind; });
}

std::string Report::text() const {
  std::string result;
  for (const Issue& issue : issues) result += issue.kind + ": " + issue.text + "\n";
  return result;
}

void begin_report(const std::string& kernel) {
  kernel_name = kernel;
  reported.clear();
}

void report_issue(const std::string& kind, const std::string& text, const void* site) {
  Report& report = launch_report();
  if (report.issues.size() >= launch_options().max_issues) return;
  // One fault is met by many threads: one report a kind and place is enough.
  if (!reported.insert({kind, site}).second) return;
  std::string who = fmt::format(" [{}]", kernel_name);
  if (running_thread() != nullptr) {
    const uint3 block = view().block;
    who = fmt::format(" [{} block ({},{},{}) thread {}]", kernel_name, block.x, block.y, block.z,
                      running_thread()->linear);
  }
  report.issues.push_back({kind, text + who + source_line(site)});
}

// File and line of a code address, by the debug information of this program (linked without PIE).
std::string source_line(const void* site) {
  static std::map<const void*, std::string> known;
  if (site == nullptr) return "";
  if (const auto found = known.find(site); found != known.end()) return found->second;
  const auto command = fmt::format("addr2line -s -e /proc/{}/exe {:#x} 2>/dev/null", getpid(),
                                   reinterpret_cast<std::uintptr_t>(site) - 1);
  std::string line;
  // NOLINTNEXTLINE(bugprone-command-processor): no word of it comes from outside
  if (FILE* pipe = popen(command.c_str(), "r")) {
    std::array<char, 256> buffer{};
    if (fgets(buffer.data(), buffer.size(), pipe) != nullptr) line = buffer.data();
    pclose(pipe);
  }
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return known[site] = line.empty() || line.starts_with("??") ? "" : " at " + line;
}

}  // namespace i2i::cuda_on_cpu
