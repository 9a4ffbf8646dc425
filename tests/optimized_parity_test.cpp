// The promise: in float32 on the CPU, with every exact feature on, the optimized implementation too is diffusers within
// the reference's tolerance at every stage that it hands out and in the pictures, though its sums are fused and in
// another order.
#include "optimized/pipeline.h"
#include "tests/golden_parity.h"

namespace i2i {
namespace {

class Optimized : public testing::TestWithParam<golden::Parameter> {};

TEST_P(Optimized, PicturesAreDiffusers) {
  const auto make = [](const std::shared_ptr<const Model>& model) {
    return make_optimized_pipeline(model, PipelineOptions{});
  };
  const auto& [index, threads] = GetParam();
  golden::expect_parity(golden::all_cases()[index], make, threads, golden::Stages::kTraced);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Optimized, golden::every_case(), golden::case_name);

}  // namespace
}  // namespace i2i
