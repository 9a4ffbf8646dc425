#include "harness/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace i2i {
namespace {

constexpr int kBarWidth = 30;

std::string duration(double seconds) {
  const auto whole = std::lround(seconds);
  return whole < 60 ? fmt::format("{} s", whole) : fmt::format("{} min {:02d} s", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(int total, int done)
    : total_(total), done_(done), done_before_(done), terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::draw(const std::string& cell) const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const int measured = done_ - done_before_;
  const std::string left =
      measured == 0 ? "" : fmt::format(", {} left", duration(elapsed.count() / measured * (total_ - done_)));
  const int filled = total_ == 0 ? kBarWidth : kBarWidth * done_ / total_;
  const std::string bar = std::string(static_cast<std::size_t>(filled), '#') +
                          std::string(static_cast<std::size_t>(kBarWidth - filled), '.');
  fmt::print(stderr, "\r\x1b[K[{}] {}/{} cells{}  {}", bar, done_, total_, left, cell);
  std::fflush(stderr);
}

void Progress::begin_cell(const std::string& cell) {
  if (terminal_) draw(cell);
}

void Progress::end_cell(const std::string& cell, const std::string& outcome) {
  ++done_;
  if (terminal_) {
    draw(cell);
  } else {
    fmt::print(stderr, "{}/{} {}: {}\n", done_, total_, cell, outcome);
  }
}

void Progress::finish() {
  if (terminal_) fmt::print(stderr, "\r\x1b[K");
}

StatusLine::StatusLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

StatusLine::~StatusLine() {
  if (terminal_) fmt::print(stderr, "\r\x1b[K");
}

void StatusLine::show(const std::string& words) {
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\x1b[K" : "", words, terminal_ ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace i2i
