// The promise: on every family and scheduler, each stage of the reference and its final picture are diffusers', within
// four times the distance that diffusers' own float32 has from its float64; with one thread and with two.
#include <ATen/ATen.h>

#include "reference/pipeline.h"
#include "tests/golden_parity.h"

namespace i2i {
namespace {

class Reference : public testing::TestWithParam<golden::Parameter> {};

TEST_P(Reference, EveryStageIsDiffusers) {
  const auto make = [](const std::shared_ptr<const Model>& model) {
    return make_reference_pipeline(model, PipelineOptions{});
  };
  const auto& [index, threads] = GetParam();
  golden::expect_parity(golden::all_cases()[index], make, threads, golden::Stages::kAll);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Reference, golden::every_case(), golden::case_name);

// Goldens that are flat, saturated or the same as each other would agree with anything.
TEST(Goldens, AreWorthComparing) {
  ASSERT_EQ(golden::all_cases().size(), 71u);
  for (const auto& one : golden::all_cases()) {
    const auto& images = one.stages.at("images").value;
    EXPECT_GT(images.std().item<double>(), 0.1) << one.family << " " << one.name;
    const auto clipped = images.eq(0).logical_or(images.eq(1)).to(at::kDouble).mean().item<double>();
    EXPECT_LT(clipped, 0.2) << one.family << " " << one.name;
    if (images.size(0) > 1) {
      EXPECT_GT((images[0] - images[1]).abs().mean().item<double>(), 0.02) << one.family << " " << one.name;
    }
    // Derived tolerances must be those of rounding: semantics.md section 13 found at most 3.3e-6 in pictures of this
    // size.
    EXPECT_LT(golden::tolerances().at({one.family, "images"}), 2e-5) << one.family;
    EXPECT_GT(golden::tolerances().at({one.family, "images"}), 0) << one.family;
  }
}

}  // namespace
}  // namespace i2i
