// One line that says how far a sweep is: a bar in a terminal, a line per cell elsewhere. Words go to stderr.
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

}  // namespace i2i
