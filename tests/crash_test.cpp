// Promise: a sweep killed with SIGKILL at any moment and started again loses nothing and counts nothing twice.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/store.h"
#include "harness/sweep.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

constexpr int kKills = 10;
constexpr int kLongestMs = 1500;

// Starts the sweep in a process of its own; its words go to a file.
pid_t start_sweep(const std::string& sweep, const std::string& out) {
  fflush(nullptr);  // or the child would print what the parent still holds
  const pid_t child = fork();
  if (child == 0) {
    const std::string log = out + ".log";
    if (freopen(log.c_str(), "a", stdout) == nullptr || freopen(log.c_str(), "a", stderr) == nullptr) _exit(126);
    execl(I2I_BINARY, "i2i", "sweep", sweep.c_str(), "--out", out.c_str(), "--threads", "1", nullptr);
    _exit(127);
  }
  return child;
}

/// Cell -> its raw samples, as the store has them now.
using Samples = std::map<std::vector<std::pair<std::string, std::string>>, std::vector<double>>;

Samples measured(const std::string& out) {
  Samples samples;
  if (!std::filesystem::exists(out + "/results.sqlite")) return samples;
  try {
    for (const CellRow& cell : Store(out, Store::Mode::kReadOnly).report().cells)
      samples[cell.axes] = cell.implementations.at(0).total_ms.samples;
  } catch (const Error&) {
    samples.clear();  // killed before the tables were made
  }
  return samples;
}

/// What was measured before is measured now, with the same samples: neither lost nor measured again.
void expect_kept(const Samples& before, const Samples& now, const std::string& where) {
  for (const auto& [cell, samples] : before) {
    ASSERT_TRUE(now.contains(cell)) << where << " lost a cell";
    EXPECT_EQ(now.at(cell), samples) << where << " measured a finished cell again";
  }
}

TEST(Crash, ASweepKilledAtTenRandomMomentsGoesOnWhereItWas) {
  const ScratchFolder scratch;
  const std::string sweep_file = (scratch / "sweep.json").string(), out = (scratch / "out").string();
  std::ofstream(sweep_file)
      << R"({"model": "synthetic:tiny-sd15", "metrics": ["psnr"], "warmup": 0, "repetitions": 2, "request": {
    "source_image": ")" I2I_SOURCE_DIR
         R"(/datasets/sources/scene_00.png", "prompt": "x", "negative_prompt": "", "seed": 1},
    "axes": {"steps": [2, 3, 4, 5, 6, 7, 8, 9], "strength": [0.5, 0.7, 0.9]}})";
  const Sweep sweep = load_sweep(sweep_file, {});

  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  Samples before;
  int killed = 0, in_the_middle = 0, finished_first = 0;
  while (killed < kKills) {
    const pid_t child = start_sweep(sweep_file, out);
    ASSERT_GT(child, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution<int>(20, kLongestMs)(random)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    const Samples now = measured(out);
    expect_kept(before, now, "kill " + std::to_string(killed));
    before = now;
    if (WIFSIGNALED(status)) {
      ++killed;
      in_the_middle += !now.empty() && now.size() < sweep.cells.size();
      continue;
    }
    ASSERT_EQ(WEXITSTATUS(status), 0);
    ASSERT_EQ(now.size(), sweep.cells.size());
    ASSERT_LT(++finished_first, 50) << "the sweep ends before it can be killed";
    std::filesystem::remove_all(out);
    before.clear();
  }
  std::printf("  killed %d times, %d times with some cells finished; %d runs were faster\n", killed, in_the_middle,
              finished_first);
  EXPECT_GT(in_the_middle, 0) << "no kill came while cells were measured";

  const pid_t last = start_sweep(sweep_file, out);
  int status = 0;
  waitpid(last, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0);
  expect_kept(before, measured(out), "the last run");

  const Report report = Store(out, Store::Mode::kReadOnly).report();
  ASSERT_EQ(report.cells.size(), sweep.cells.size());
  for (std::size_t i = 0; i < sweep.cells.size(); ++i) {
    EXPECT_EQ(report.cells[i].axes, sweep.cells[i].axes);
    EXPECT_EQ(report.cells[i].index, static_cast<int>(i));
    EXPECT_EQ(report.cells[i].implementations.at(0).total_ms.samples.size(), 2u) << "samples lost or counted twice";
  }
}

}  // namespace
}  // namespace i2i
