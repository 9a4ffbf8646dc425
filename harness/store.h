// Results on disk: SQLite, one transaction a cell. What was measured survives SIGKILL at any moment; a finished cell is
// never measured twice. Raw samples and pictures are kept, so that every report can be made again.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "harness/sweep.h"
#include "reports/report.h"

struct sqlite3;

namespace i2i {

class Store {
 public:
  enum class Mode { kCreateOrResume, kReadOnly };

  /// Opens DIR/results.sqlite. @throws Error(kUsage) where the folder holds another sweep's results or none (kReadOnly)
  Store(const std::string& directory, Mode mode);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Ties the store to a sweep; a second call with another sweep is an error that says what to do.
  void begin(const Sweep& sweep, const std::vector<std::pair<std::string, std::string>>& environment,
             const std::string& command);

  /// Keys of the cells that are finished.
  std::set<std::string> finished() const;

  /// One transaction: the row, its samples and its pictures, or nothing.
  void save(const std::string& key, const CellRow& row);

  /// The promises measured so far; saved after each, so that an interrupted run goes on with the next.
  std::vector<PromiseRow> promises() const;
  void save_promises(const std::vector<PromiseRow>& promises);

  /// Everything, cells in the sweep's order.
  Report report() const;

 private:
  std::string meta(const std::string& name) const;
  void set_meta(const std::string& name, const std::string& value);
  void execute(const std::string& sql) const;

  std::string path_;
  sqlite3* database_ = nullptr;
};

}  // namespace i2i
