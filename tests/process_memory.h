// How much memory an action takes, measured in a process of its own, since peaks last as long as their process.
// Only tests include this.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace i2i {

/// Bytes, from /proc/self/status.
struct Memory {
  std::int64_t peak = 0;       ///< VmHWM, highest resident so far
  std::int64_t resident = 0;   ///< VmRSS
  std::int64_t anonymous = 0;  ///< RssAnon: memory of the process's own
  std::int64_t mapped = 0;     ///< RssFile: pages of files
};

inline Memory memory_now() {
  std::ifstream status("/proc/self/status");
  Memory memory;
  for (std::string line; std::getline(status, line);) {
    for (const auto& [name, bytes] : {std::pair("VmHWM:", &memory.peak), std::pair("VmRSS:", &memory.resident),
                                      std::pair("RssAnon:", &memory.anonymous), std::pair("RssFile:", &memory.mapped)})
      if (line.starts_with(name)) *bytes = std::stoll(line.substr(std::string_view(name).size())) * 1024;
  }
  return memory;
}

/// What `action` returns, run in a child; a failure of the test where the child does not come to its end.
template <typename Action>
auto in_a_child(const Action& action) {
  using Answer = decltype(action());
  static_assert(std::is_trivially_copyable_v<Answer>);
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Answer answer = action();
    ::_exit(::write(pipe[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
  }
  ::close(pipe[1]);
  Answer answer{};
  EXPECT_EQ(::read(pipe[0], &answer, sizeof answer), static_cast<ssize_t>(sizeof answer)) << "the child broke off";
  ::close(pipe[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  return answer;
}

}  // namespace i2i
