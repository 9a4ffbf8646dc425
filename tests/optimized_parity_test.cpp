// The promise: in float32 on the CPU, with every exact feature on, the optimized implementation too is diffusers within
// 2e-5 at every stage that it hands out and in the pictures, though its sums are fused and in another order.
#include "optimized/pipeline.h"
#include "tests/golden_parity.h"

namespace i2i {
namespace {

constexpr double kTolerance = 2e-5;

class Optimized : public testing::TestWithParam<std::size_t> {};

TEST_P(Optimized, PicturesAreDiffusers) {
  const auto make = [](const std::shared_ptr<const Model>& model) {
    return make_optimized_pipeline(model, PipelineOptions{});
  };
  golden::run_case(golden::all_cases()[GetParam()], make, kTolerance, golden::Stages::kTraced);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Optimized, testing::Range(std::size_t{0}, golden::all_cases().size()),
                         golden::case_name);

}  // namespace
}  // namespace i2i
