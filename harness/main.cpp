// The command line: subcommands only. Results go to stdout, words to stderr, and every error becomes one exit code
// here.
#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "harness/commands/calibrate.h"
#include "harness/commands/command.h"
#include "interface/edit_distance.h"

namespace i2i {
namespace {

// "did you mean ...?" for the argument nearest to a known subcommand or flag, or "".
std::string suggestion(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> known;
  const CLI::App* chosen = &app;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
    if (argc > 1 && command->get_name() == argv[1]) chosen = command;
  }
  if (chosen != &app) {
    known.clear();
    for (const CLI::Option* option : chosen->get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  }
  for (int i = chosen == &app ? 1 : 2; i < argc; ++i) {
    const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if ((chosen != &app && !word.starts_with("--")) || std::find(known.begin(), known.end(), word) != known.end())
      continue;
    const auto nearest = std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
      return edit_distance(word, a) < edit_distance(word, b);
    });
    if (nearest != known.end() && edit_distance(word, *nearest) <= 3) return fmt::format("did you mean {}?", *nearest);
  }
  return "";
}

int exit_code_of(const Error& error) {
  return error.code() == ErrorCode::kGenerationFailed ? kGenerationError : kUsageError;
}

// The error object is a result: stdout. The sentences are for people: stderr.
int report_error(const Error& error) {
  if (error.code() != ErrorCode::kUsage) fmt::print("{}\n", to_json(error).dump());
  if (error.violations().empty()) fmt::print(stderr, "error: {}\n", error.what());
  for (const Violation& violation : error.violations()) {
    fmt::print(stderr, "error: {}{}{}\n", violation.pointer, violation.pointer.empty() ? "" : ": ", violation.message);
  }
  return exit_code_of(error);
}

int run(int argc, char** argv) {
  CLI::App app("i2i: image-to-image diffusion twice, compared, timed and reported", "i2i");
  app.require_subcommand(1);
  int exit_code = kPass;
  add_run(app, exit_code);
  add_worker(app, exit_code);
  add_check(app, exit_code);
  add_sweep(app, exit_code);
  add_compare(app, exit_code);
  add_report(app, exit_code);
  add_promises(app, exit_code);
  add_kernels(app, exit_code);
  add_calibrate(app, exit_code);
  add_bounds(app, exit_code);
  add_peers(app, exit_code);
  add_lists(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    if (code == 0) return kPass;  // --help
    if (const std::string hint = suggestion(app, argc, argv); !hint.empty()) fmt::print(stderr, "{}\n", hint);
    return kUsageError;
  } catch (const Error& error) {
    return report_error(error);
  } catch (const std::bad_alloc&) {
    return report_error(Error(ErrorCode::kGenerationFailed, "memory ran out"));
  } catch (const std::exception& error) {
    return report_error(Error(ErrorCode::kGenerationFailed, error.what()));
  }
  return exit_code;
}

}  // namespace
}  // namespace i2i

int main(int argc, char** argv) { return i2i::run(argc, argv); }
