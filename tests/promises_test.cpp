// Promise: on the embedded model, every parameter of the action does what the action says it does. Measured on the
// reference over 32 drawn sources and seeds, as the report shows it (datasets/sweeps/promises.json).
#include "harness/promises.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "harness/implementations.h"
#include "interface/model_files.h"
#include "interface/scheduler_spec.h"

namespace i2i {
namespace {

Interval at(double mean) { return {mean, mean, mean, {mean}}; }

TEST(Directions, AreStrict) {
  EXPECT_TRUE(rises({at(0.1), at(0.2), at(0.3)}));
  EXPECT_FALSE(rises({at(0.1), at(0.2), at(0.2)}));
  EXPECT_FALSE(rises({at(0.1), at(0.3), at(0.2)}));
  EXPECT_TRUE(falls({at(0.3), at(0.2), at(0.1)}));
  EXPECT_FALSE(falls({at(0.3), at(0.1), at(0.1)}));
  EXPECT_FALSE(rises({at(0.1), at(NAN), at(0.3)})) << "what was not measured proves nothing";
}

TEST(Promises, AreSeven) { EXPECT_EQ(promise_names().size(), 7u); }

/// One promise a test, so that two programs can share them.
class Promise : public testing::TestWithParam<std::string> {};

TEST_P(Promise, HoldsOnTheReference) {
  const auto model = load_model("scenes");
  const auto reference = make_pipeline("reference", model, PipelineOptions());
  std::vector<PromiseRow> rows;  // what is in it counts as measured
  for (const std::string& name : promise_names()) {
    if (name != GetParam()) rows.emplace_back().promise = name;
  }
  measure_promises(
      *reference, resolve_scheduler("", model->config), PromiseSettings(), rows, [](const std::string&) {},
      [](const std::vector<PromiseRow>&) {});
  ASSERT_EQ(rows.size(), 7u);
  const PromiseRow& row = rows.back();
  std::string measured;
  for (std::size_t i = 0; i < row.values.size(); ++i)
    measured += fmt::format(" {}: {:.4f}", row.values[i], row.measured[i].median);
  fmt::print("{} ({}):{}\n", row.promise, row.quantity, measured);
  EXPECT_EQ(row.promise, GetParam());
  EXPECT_TRUE(row.holds) << row.promise << "; " << row.quantity << " " << row.expectation << "; measured" << measured;
  for (const Interval& value : row.measured) EXPECT_EQ(value.samples.size(), 32u);
}

INSTANTIATE_TEST_SUITE_P(OfTheAction, Promise, testing::ValuesIn(promise_names()),
                         [](const auto& promise) { return fmt::format("number_{}", promise.index + 1); });

}  // namespace
}  // namespace i2i
