// The promise: on every family and scheduler, each stage of the reference and its final picture are diffusers' within
// 2e-5 (semantics.md section 13: diffusers' own float32 is up to 3.3e-6 from its float64).
#include "reference/pipeline.h"
#include "tests/golden_parity.h"

namespace i2i {
namespace {

constexpr double kTolerance = 2e-5;

class Reference : public testing::TestWithParam<std::size_t> {};

TEST_P(Reference, EveryStageIsDiffusers) {
  const auto make = [](const std::shared_ptr<const Model>& model) {
    return make_reference_pipeline(model, PipelineOptions{});
  };
  golden::run_case(golden::all_cases()[GetParam()], make, kTolerance, golden::Stages::kAll);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Reference, testing::Range(std::size_t{0}, golden::all_cases().size()),
                         golden::case_name);

// Goldens that are flat, saturated or the same as each other would agree with anything.
TEST(Goldens, AreWorthComparing) {
  ASSERT_EQ(golden::all_cases().size(), 56u);
  for (const auto& one : golden::all_cases()) {
    const auto& images = one.stages.at("images").value;
    EXPECT_GT(images.std().item<double>(), 0.1) << one.family << " " << one.name;
    const auto clipped = images.eq(0).logical_or(images.eq(1)).to(at::kDouble).mean().item<double>();
    EXPECT_LT(clipped, 0.2) << one.family << " " << one.name;
    if (images.size(0) > 1) {
      EXPECT_GT((images[0] - images[1]).abs().mean().item<double>(), 0.02) << one.family << " " << one.name;
    }
    const auto& picture = one.stages.at("images");
    EXPECT_LT(picture.float64_distance, kTolerance / 4) << one.family << " " << one.name;
  }
}

}  // namespace
}  // namespace i2i
