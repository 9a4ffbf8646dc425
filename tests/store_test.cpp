// Promise: what a store gives back is what was put in, and it never mixes two sweeps.
#include "harness/store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "harness/row_reader.h"
#include "interface/error.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

Sweep a_sweep(const std::string& name) {
  Sweep sweep;
  sweep.name = name;
  sweep.axes = {{"steps", {"2", "4"}}};
  sweep.document = {{"name", name}};
  return sweep;
}

CellRow a_cell(int index) {
  CellRow row;
  row.index = index;
  row.axes = {{"steps", std::to_string(2 + index)}, {"prompt", "it's \"quoted\" \xc3\xa9\n</script>"}};
  row.verdict = "passed";
  row.metrics = {{"ssim", 0.9995, 0.999, true, 0.5, true}, {"psnr", INFINITY, std::nullopt, true, 0, true}};
  row.latents_drift = {1e-6, 2e-6};
  const Interval interval{2, 1.5, 2.5, {1.5, 2, 2.5}};
  row.implementations = {{"reference", interval, 9, {{"unet", 1, interval}}, {}, 1 << 20, 0},
                         {"optimized",
                          interval,
                          5,
                          {{"unet", 1, interval}},
                          {{"unet", 1, "i2i::linear", "linear", 7, interval}},
                          1 << 19,
                          0}};
  row.speedup = interval;
  row.speedup_verdict = "faster";
  row.source_png = std::string("\x89PNG\0source", 11);
  row.reference_png = std::string("\x89PNG\0reference", 14);
  row.warnings = {"a warning"};
  row.command = "i2i check -";
  return row;
}

class StoreFolder : public testing::Test {
 protected:
  const ScratchFolder scratch_;
  const std::string folder_ = (scratch_ / "out").string();
};

TEST_F(StoreFolder, GivesBackWhatWasPutIn) {
  {
    Store store(folder_, Store::Mode::kCreateOrResume);
    store.begin(a_sweep("one"), {{"processor", "p"}}, "i2i sweep");
    store.save("b", a_cell(1));
    store.save("a", a_cell(0));
  }
  const Report report = Store(folder_, Store::Mode::kReadOnly).report();
  EXPECT_EQ(report.title, "one");
  EXPECT_EQ(report.environment.at(0).second, "p");
  EXPECT_EQ(report.axes.at(0).second, (std::vector<std::string>{"2", "4"}));
  ASSERT_EQ(report.cells.size(), 2u);
  for (int index = 0; index < 2; ++index) {
    const CellRow &expected = a_cell(index), &row = report.cells[static_cast<std::size_t>(index)];
    EXPECT_EQ(cell_to_text(row), cell_to_text(expected));
    EXPECT_EQ(row.axes, expected.axes);
    const OperatorRow &one = row.implementations.at(1).operators.at(0),
                      &wanted = expected.implementations.at(1).operators.at(0);
    EXPECT_EQ(std::tie(one.stage, one.step, one.name, one.kind, one.calls, one.ms.samples),
              std::tie(wanted.stage, wanted.step, wanted.name, wanted.kind, wanted.calls, wanted.ms.samples));
    EXPECT_EQ(row.implementations.at(1).stages.at(0).ms.samples,
              expected.implementations.at(1).stages.at(0).ms.samples);
    EXPECT_TRUE(std::isinf(row.metrics.at(1).value));
    EXPECT_EQ(row.source_png, expected.source_png);
    EXPECT_EQ(row.reference_png, expected.reference_png);
    EXPECT_EQ(row.optimized_png, "");
  }
  ASSERT_TRUE(report.geometric_mean_speedup.has_value());
  EXPECT_NEAR(report.geometric_mean_speedup->median, 2, 1e-12);
}

TEST_F(StoreFolder, RefusesToCountACellTwice) {
  Store store(folder_, Store::Mode::kCreateOrResume);
  store.begin(a_sweep("one"), {}, "");
  store.save("a", a_cell(0));
  EXPECT_THROW(store.save("a", a_cell(0)), Error);
  EXPECT_EQ(store.finished(), (std::set<std::string>{"a"}));
  EXPECT_EQ(store.report().cells.size(), 1u);
}

TEST_F(StoreFolder, RefusesAnotherSweep) {
  Store(folder_, Store::Mode::kCreateOrResume).begin(a_sweep("one"), {}, "");
  Store store(folder_, Store::Mode::kCreateOrResume);
  store.begin(a_sweep("one"), {}, "");  // resuming is welcome
  try {
    store.begin(a_sweep("two"), {}, "");
    FAIL() << "two sweeps in one store";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("another sweep ('one')"), std::string::npos) << error.what();
  }
}

TEST_F(StoreFolder, AFolderWithoutResultsIsSaidToBeOne) { EXPECT_THROW(Store(folder_, Store::Mode::kReadOnly), Error); }

TEST_F(StoreFolder, PromisesComeBackToo) {
  Store store(folder_, Store::Mode::kCreateOrResume);
  store.begin(a_sweep("one"), {}, "");
  PromiseRow row{"more steps, better pictures",      "steps", "distance", {"5", "10"},
                 {{2, 1, 3, {2}}, {1, 0.5, 2, {1}}}, "falls", true};
  store.save_promises({row});
  const auto back = store.report().promises;
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(promises_to_text(back), promises_to_text({row}));
  EXPECT_EQ(back[0].values, row.values);
}

}  // namespace
}  // namespace i2i
