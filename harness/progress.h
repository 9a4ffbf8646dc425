// One line that says how far a run is: a bar for a sweep's cells, words for other work; in a terminal drawn over
// itself, elsewhere a line each. Words go to stderr.
#pragma once

#include <chrono>
#include <string>

namespace i2i {

class Progress {
 public:
  /// @param total  cells of the sweep
  /// @param done   cells finished in an earlier run: they say nothing about the time left
  Progress(int total, int done);
  void begin_cell(const std::string& cell);
  void end_cell(const std::string& cell, const std::string& outcome);
  void finish();

 private:
  void draw(const std::string& cell) const;
  int total_, done_, done_before_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Words that say what is done now; gone when the line goes out of scope.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void show(const std::string& words);

 private:
  bool terminal_;
};

}  // namespace i2i
