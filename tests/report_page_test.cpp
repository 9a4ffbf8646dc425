// The page itself, worked by a script in headless Chromium: every selector, cell and button, without an error or a
// request. Skipped where there is no Chromium.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "reports/report.h"
#include "tests/report_sample.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

std::string percent_decode(const std::string& text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return decoded;
}

/// What report_page_drive.js saw in a page of `report`, `width` pixels wide; null where Chromium gave nothing.
nlohmann::json drive(const Report& report, int width) {
  std::string page;
  for (const ReportWriter& writer : report_writers()) {
    if (writer.format == "html") page = writer.write(report);
  }
  std::ifstream script(std::string(I2I_SOURCE_DIR) + "/tests/report_page_drive.js");
  std::stringstream driver;
  driver << script.rdbuf();
  page.insert(page.find("<style>"), "<script>{" + driver.str() + "}</script>\n");
  const ScratchFolder folder;
  std::ofstream(folder / "page.html", std::ios::binary) << page;
  const std::string command =
      "timeout 120 chromium --headless --no-sandbox --disable-gpu --virtual-time-budget=60000 --window-size=" +
      std::to_string(width) + ",1000 --user-data-dir='" + (folder / "profile").string() + "' --dump-dom 'file://" +
      (folder / "page.html").string() + "' 2>/dev/null";
  std::string dom;
  // NOLINTNEXTLINE(bugprone-command-processor): no word of it comes from outside
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[65536];
  while (const std::size_t count = std::fread(buffer, 1, sizeof(buffer), pipe)) dom.append(buffer, count);
  pclose(pipe);
  const std::string key = "data-driven=\"";
  const std::size_t start = dom.find(key);
  if (start == std::string::npos) return nullptr;
  const std::size_t text = start + key.size();
  return nlohmann::json::parse(percent_decode(dom.substr(text, dom.find('"', text) - text)));
}

class ReportPage : public testing::TestWithParam<int> {
  void SetUp() override {
    // NOLINTNEXTLINE(bugprone-command-processor): asks the shell for a program
    if (std::system("command -v chromium >/dev/null 2>&1") != 0) GTEST_SKIP() << "no chromium on this machine";
  }
};

TEST_P(ReportPage, EveryControlWorksWithoutErrorsOrRequests) {
  nlohmann::json seen = drive(sample::sweep(), GetParam());
  ASSERT_TRUE(seen.is_object()) << "the page did not reach its end";
  EXPECT_EQ(seen["errors"], nlohmann::json::array());
  EXPECT_EQ(seen["resources"], nlohmann::json::array());
  EXPECT_EQ(seen["rows"], 36);
  EXPECT_EQ(seen["opened"], 36);
  EXPECT_EQ(seen["alert"], "");
  EXPECT_EQ(seen["overflow"], false) << "the page scrolls sideways";
  EXPECT_GE(seen["plots"], 10);
  const std::string operators = seen["operators"].is_string() ? seen["operators"].get<std::string>() : "";
  for (const char* words : {"convolution", "normalization", "i2i::conv2d", "aten::linear", "10 calls", "200 GFLOP/s",
                            "50 % of the roofline"})
    EXPECT_NE(operators.find(words), std::string::npos) << words << " in " << operators;
}

TEST_P(ReportPage, FailuresAreFirstAndHostileTextIsText) {
  nlohmann::json seen = drive(sample::failures(), GetParam());
  ASSERT_TRUE(seen.is_object()) << "the page did not reach its end";
  EXPECT_EQ(seen["errors"], nlohmann::json::array());
  EXPECT_EQ(seen["resources"], nlohmann::json::array());
  EXPECT_EQ(seen["opened"], 6);
  EXPECT_EQ(seen["alert"], "✕ 2 cells of 6 failed.");
  EXPECT_EQ(seen["firstVerdict"], "✕ failed");
  EXPECT_EQ(seen["filteredRows"], 2);
  EXPECT_EQ(seen["overflow"], false) << "the page scrolls sideways";
  EXPECT_EQ(seen["canvases"], 1) << "the difference of the failed cell";
  EXPECT_EQ(seen["slider"], "inset(0px 0px 0px 20%)");
  const std::string detail = seen["detail"].is_string() ? seen["detail"].get<std::string>() : "";
  EXPECT_NE(detail.find("Not timed: the cell is failed."), std::string::npos) << detail;
  EXPECT_NE(detail.find("i2i check request.json"), std::string::npos) << detail;
}

INSTANTIATE_TEST_SUITE_P(Widths, ReportPage, testing::Values(500, 1440));

}  // namespace
}  // namespace i2i
