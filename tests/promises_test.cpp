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

TEST(Promises, AllHoldOnTheReference) {
  const auto model = load_model("scenes");
  const auto reference = make_pipeline("reference", model, PipelineOptions());
  std::vector<PromiseRow> rows;
  measure_promises(
      *reference, resolve_scheduler("", model->config), PromiseSettings(), rows, [](const std::string&) {},
      [](const std::vector<PromiseRow>&) {});
  ASSERT_EQ(rows.size(), 7u);
  for (const PromiseRow& row : rows) {
    std::string measured;
    for (std::size_t i = 0; i < row.values.size(); ++i)
      measured += fmt::format(" {}: {:.4f}", row.values[i], row.measured[i].median);
    fmt::print("{} ({}):{}\n", row.promise, row.quantity, measured);
    EXPECT_TRUE(row.holds) << row.promise << "; " << row.quantity << " " << row.expectation << "; measured" << measured;
    for (const Interval& value : row.measured) EXPECT_EQ(value.samples.size(), 32u);
  }
}

}  // namespace
}  // namespace i2i
