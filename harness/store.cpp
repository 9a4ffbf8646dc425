#include "harness/store.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "harness/row_reader.h"
#include "harness/statistics.h"

namespace i2i {
namespace {

// A prepared statement with its values bound; steps through rows.
class Statement {
 public:
  Statement(sqlite3* database, const std::string& sql) : database_(database) {
    if (sqlite3_prepare_v2(database, sql.c_str(), -1, &statement_, nullptr) != SQLITE_OK) fail();
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& text(int index, const std::string& value) {
    sqlite3_bind_text(statement_, index, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& blob(int index, const std::string& value) {
    sqlite3_bind_blob(statement_, index, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& number(int index, std::int64_t value) {
    sqlite3_bind_int64(statement_, index, value);
    return *this;
  }
  bool row() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail();
    return code == SQLITE_ROW;
  }
  std::string column(int index) const {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, index));
    return {data, data + sqlite3_column_bytes(statement_, index)};
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(ErrorCode::kGenerationFailed, fmt::format("the result store: {}", sqlite3_errmsg(database_)));
  }
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
};

const std::array<std::pair<const char*, std::string CellRow::*>, 3> kPictures = {
    {{"source", &CellRow::source_png}, {"reference", &CellRow::reference_png}, {"optimized", &CellRow::optimized_png}}};

}  // namespace

Store::Store(const std::string& directory, Mode mode) : path_(directory + "/results.sqlite") {
  if (mode == Mode::kCreateOrResume) std::filesystem::create_directories(directory);
  if (mode == Mode::kReadOnly && !std::filesystem::exists(path_)) {
    throw Error(ErrorCode::kUsage, fmt::format("{} holds no results: there is no {}", directory, path_));
  }
  const int flags = mode == Mode::kReadOnly ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if (sqlite3_open_v2(path_.c_str(), &database_, flags, nullptr) != SQLITE_OK) {
    const std::string reason = sqlite3_errmsg(database_);
    sqlite3_close(database_);
    throw Error(ErrorCode::kUsage, fmt::format("{} cannot be opened: {}", path_, reason));
  }
  sqlite3_busy_timeout(database_, 10'000);
  if (mode == Mode::kCreateOrResume) {
    execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;");
    execute(
        "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);"
        "CREATE TABLE IF NOT EXISTS cells(key TEXT PRIMARY KEY, position INTEGER NOT NULL, row TEXT NOT NULL,"
        " finished TEXT DEFAULT CURRENT_TIMESTAMP);"
        "CREATE TABLE IF NOT EXISTS pictures(key TEXT NOT NULL, kind TEXT NOT NULL, png BLOB NOT NULL, PRIMARY "
        "KEY(key, kind));");
  }
}

Store::~Store() { sqlite3_close(database_); }

void Store::execute(const std::string& sql) const {
  char* message = nullptr;
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, &message) != SQLITE_OK) {
    const std::string reason = message == nullptr ? "unknown error" : message;
    sqlite3_free(message);
    throw Error(ErrorCode::kGenerationFailed, fmt::format("{}: {}", path_, reason));
  }
}

std::string Store::meta(const std::string& name) const {
  Statement statement(database_, "SELECT value FROM meta WHERE name = ?1");
  return statement.text(1, name).row() ? statement.column(0) : "";
}

void Store::set_meta(const std::string& name, const std::string& value) {
  Statement(database_, "INSERT OR REPLACE INTO meta VALUES(?1, ?2)").text(1, name).text(2, value).row();
}

void Store::begin(const Sweep& sweep, const std::vector<std::pair<std::string, std::string>>& environment,
                  const std::string& command) {
  const std::string identity = sweep.document.dump();
  const std::string known = meta("sweep");
  if (!known.empty() && known != identity) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{} holds the results of another sweep ('{}'): choose another --out, or remove it", path_,
                            meta("title")));
  }
  nlohmann::ordered_json axes = nlohmann::ordered_json::array(), machine = nlohmann::ordered_json::array();
  for (const auto& [name, values] : sweep.axes) axes.push_back({name, values});
  for (const auto& [name, value] : environment) machine.push_back({name, value});
  execute("BEGIN IMMEDIATE");
  set_meta("sweep", identity);
  set_meta("title", sweep.name);
  set_meta("command", command);
  set_meta("axes", axes.dump());
  set_meta("environment", machine.dump());
  if (!known.empty()) set_meta("resumed", std::to_string(std::atoi(meta("resumed").c_str()) + 1));
  execute("COMMIT");
}

std::set<std::string> Store::finished() const {
  std::set<std::string> keys;
  Statement statement(database_, "SELECT key FROM cells");
  while (statement.row()) keys.insert(statement.column(0));
  return keys;
}

void Store::save(const std::string& key, const CellRow& row) {
  execute("BEGIN IMMEDIATE");
  try {
    Statement(database_, "INSERT INTO cells(key, position, row) VALUES(?1, ?2, ?3)")
        .text(1, key)
        .number(2, row.index)
        .text(3, cell_to_text(row))
        .row();
    for (const auto& [kind, picture] : kPictures) {
      if ((row.*picture).empty()) continue;
      Statement(database_, "INSERT INTO pictures VALUES(?1, ?2, ?3)")
          .text(1, key)
          .text(2, kind)
          .blob(3, row.*picture)
          .row();
    }
    execute("COMMIT");
  } catch (...) {
    sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

std::vector<PromiseRow> Store::promises() const {
  const std::string text = meta("promises");
  return text.empty() ? std::vector<PromiseRow>() : promises_from_text(text);
}

void Store::save_promises(const std::vector<PromiseRow>& promises) { set_meta("promises", promises_to_text(promises)); }

Report Store::report() const {
  Report report;
  report.title = meta("title");
  report.command = meta("command");
  const auto axes = nlohmann::ordered_json::parse(meta("axes").empty() ? "[]" : meta("axes"));
  for (const auto& axis : axes) report.axes.emplace_back(axis.at(0), axis.at(1).get<std::vector<std::string>>());
  const auto machine = nlohmann::ordered_json::parse(meta("environment").empty() ? "[]" : meta("environment"));
  for (const auto& entry : machine) report.environment.emplace_back(entry.at(0), entry.at(1));

  Statement cells(database_, "SELECT key, row FROM cells ORDER BY position");
  std::vector<Interval> speedups;
  while (cells.row()) {
    CellRow row = cell_from_text(cells.column(1));
    Statement pictures(database_, "SELECT kind, png FROM pictures WHERE key = ?1");
    pictures.text(1, cells.column(0));
    while (pictures.row()) {
      for (const auto& [kind, picture] : kPictures) {
        if (pictures.column(0) == kind) row.*picture = pictures.column(1);
      }
    }
    if (row.speedup) speedups.push_back(*row.speedup);
    report.cells.push_back(std::move(row));
  }
  if (!speedups.empty()) report.geometric_mean_speedup = geometric_mean(speedups);
  report.promises = promises();
  report.notes = {
      "Weights and source pictures are loaded once per sweep and shared by its cells; they are in no latency.",
      "Each cell is checked before it is timed. Both implementations then take turns (A/B, B/A) in one process.",
      "Memory is what an implementation keeps (weights, packed copies, buffers) and what the cell's run adds to it at "
      "its "
      "peak; what both share (libraries, weights in mapped files, source pictures) is in neither. On a GPU it is what "
      "libtorch's allocator handed out."};
  if (const std::string resumed = meta("resumed"); !resumed.empty()) {
    report.notes.push_back(fmt::format(
        "The sweep was interrupted and resumed {} time(s); finished cells were not measured again.", resumed));
  }
  return report;
}

}  // namespace i2i
