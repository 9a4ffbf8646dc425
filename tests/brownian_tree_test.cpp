// The promise: seeds are numpy's SeedSequence and increments are torchsde 0.2.6's BrownianInterval, bit for bit, in
// whatever order they are asked for. Expected values were printed by numpy 2 and torchsde 0.2.6.
#include "interface/brownian_tree.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "interface/error.h"
#include "interface/noise.h"

namespace i2i {
namespace {

TEST(SeedSequence, IsNumpys) {
  using Words = std::vector<std::uint32_t>;
  EXPECT_EQ(seed_sequence(5, {}, 4), (Words{3154616629, 1086096781, 1700057493, 3338405053}));
  EXPECT_EQ(seed_sequence(5, {3, 2}, 4), (Words{432122160, 857451279, 845070096, 3996557897}));
  EXPECT_EQ(seed_sequence((1ULL << 40) + 3, {}, 4), (Words{1141977856, 379400112, 2541147225, 2404098640}));
  EXPECT_EQ(seed_sequence((1ULL << 40) + 3, {(1ULL << 33) + 1, 40}, 4),
            (Words{720994274, 331967203, 3618920006, 228691395}));
}

TEST(BrownianTree, IncrementsAreTorchsdes) {
  struct Query {
    double from, to;
    std::vector<float> expected;
  };
  const std::vector<Query> queries = {
      {3.25,
       14.6146,
       {1.5694377422332764F, -1.0887095928192139F, 1.536690354347229F, 0.577558159828186F, 2.5595202445983887F,
        4.02500057220459F, 3.9502270221710205F, 0.37435340881347656F}},
      {0.05,
       0.0500021,
       {0.0008856780477799475F, -0.0007720969733782113F, 0.002353547140955925F, 0.0019155556801706553F,
        0.003449010895565152F, -7.003188511589542e-05F, -0.002006680238991976F, 0.0018145759822800756F}},
      {0.5,
       3.25,
       {1.8008391857147217F, 1.155381441116333F, -2.352505683898926F, -0.3293078541755676F, -1.4524462223052979F,
        2.148879289627075F, -0.7500974535942078F, -0.9173560738563538F}},
      {0.0291675,
       14.6146,
       {4.194099426269531F, 1.7581665515899658F, -1.0692609548568726F, 0.8758200407028198F, 1.3764091730117798F,
        5.98136568069458F, 3.6313588619232178F, -1.4657423496246338F}}};
  const BrownianTree tree(5, 0.0291675, 14.6146, {1, 4, 1, 2});
  for (const auto& query : queries) {
    const auto increment = tree.increment(query.from, query.to).flatten();
    EXPECT_TRUE(at::equal(increment, at::tensor(query.expected, at::kFloat))) << query.from << " to " << query.to;
  }
}

TEST(BrownianTree, IsOnePath) {
  const BrownianTree tree(7, 0, 8, {4000});
  const auto whole = tree.increment(1, 5), parts = tree.increment(1, 2.7) + tree.increment(2.7, 5);
  EXPECT_LT((whole - parts).abs().max().item<float>(), 1e-5);
  EXPECT_NEAR(whole.var().item<float>(), 4, 0.4);  // five deviations of the variance of 4000 draws
  EXPECT_EQ(tree.increment(3, 3).abs().max().item<float>(), 0);
  EXPECT_TRUE(at::equal(tree.increment(-1, 9), tree.increment(0, 8)));
  EXPECT_THROW(BrownianTree(7, 2, 2, {1}), Error);
}

TEST(BrownianTree, NoiseHasUnitVarianceAndSeedsOfItsImages) {
  NoiseInterval interval{5, 2, 0.03, 14, std::nullopt};
  const NoiseSource pair(11, 2, NoiseMode::kPerImage), second(12, 1, NoiseMode::kPerImage);
  const auto noise = pair.draw_interval(interval, 4, 32, 32);
  EXPECT_EQ(noise.sizes(), (std::vector<std::int64_t>{2, 4, 32, 32}));
  EXPECT_NEAR(noise.var().item<float>(), 1, 0.08);
  EXPECT_TRUE(at::equal(noise.slice(0, 1), second.draw_interval(interval, 4, 32, 32)));
  interval.seed = 11;  // one path for the whole batch
  EXPECT_FALSE(at::equal(noise, pair.draw_interval(interval, 4, 32, 32)));
  EXPECT_TRUE(at::equal(pair.draw_interval(interval, 4, 32, 32),
                        NoiseSource(99, 2, NoiseMode::kBatch).draw_interval(interval, 4, 32, 32)));
}

}  // namespace
}  // namespace i2i
