// Promise: a sweep killed with SIGKILL at any moment and started again loses nothing and counts nothing twice.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "harness/store.h"
#include "harness/sweep.h"

namespace i2i {
namespace {

constexpr int kKills = 10;

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

std::set<std::string> finished_cells(const std::string& out) {
  if (!std::filesystem::exists(out + "/results.sqlite")) return {};
  try {
    return Store(out, Store::Mode::kReadOnly).finished();
  } catch (const Error&) {
    return {};  // killed before the tables were made
  }
}

TEST(Crash, AKilledSweepGoesOnWhereItWas) {
  const std::string folder = testing::TempDir() + "crash_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string sweep_file = folder + "/sweep.json", out = folder + "/out";
  std::ofstream(sweep_file)
      << R"({"model": "synthetic:tiny-sd15", "metrics": ["psnr"], "warmup": 0, "repetitions": 2, "request": {
    "source_image": ")" I2I_SOURCE_DIR
         R"(/datasets/sources/scene_00.png", "prompt": "x", "negative_prompt": "", "seed": 1},
    "axes": {"steps": [2, 3, 4, 5, 6, 7, 8, 9], "strength": [0.5, 0.7, 0.9]}})";
  const Sweep sweep = load_sweep(sweep_file, {});

  std::mt19937 random(std::random_device{}());
  std::set<std::string> before;
  int killed = 0;
  for (int round = 0; round < kKills; ++round) {
    const pid_t child = start_sweep(sweep_file, out);
    ASSERT_GT(child, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution<int>(20, 1500)(random)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
    const auto now = finished_cells(out);
    for (const std::string& key : before) EXPECT_TRUE(now.contains(key)) << "round " << round << " lost " << key;
    before = now;
  }
  EXPECT_GT(killed, 0) << "every run ended before it could be killed";

  const pid_t last = start_sweep(sweep_file, out);
  int status = 0;
  waitpid(last, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0);

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
