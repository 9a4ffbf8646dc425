// Each operator of ops.inc against a plain formula in double, on odd sizes and extreme values, for every instruction
// set that this processor runs. Outputs lie between guard bytes, so that a vector written past its end is seen.
#include <c10/core/GradMode.h>

#include "tests/ops_check.h"

namespace i2i {
namespace {

// F(4x4, 3x3) and F(6x6, 3x3): the transforms' weights reach 8 * 8 and 32 * 32 and cancel.
constexpr double kWinograd = 5e-5;

TEST_P(Operators, Linear) {
  tested().insert("linear");
  for (const auto& [rows, in, out] :
       {std::tuple{1, 1, 1}, {2, 7, 5}, {13, 33, 17}, {97, 64, 48}, {101, 5000, 31}, {200, 320, 130}}) {
    for (const auto activation : {ops::kNone, ops::kSilu, ops::kQuickGelu, ops::kGelu, ops::kGeglu}) {
      for (const bool extras : {false, true}) {
        SCOPED_TRACE(fmt::format("{} x {} -> {}, activation {}, bias and residual {}", rows, in, out,
                                 static_cast<int>(activation), extras));
        const std::int64_t weight_rows = activation == ops::kGeglu ? 2 * out : out;
        const at::Tensor x = at::randn({1, rows, in}) * 2, weight = at::randn({weight_rows, in}) / std::sqrt(in);
        const at::Tensor bias = at::randn({weight_rows}), residual = at::randn({1, rows, out});
        Guarded y({1, rows, out});
        ops::linear(x, ops::pack_weight(weight, activation == ops::kGeglu),
                    extras ? ops::OptionalTensor(bias) : std::nullopt,
                    extras ? ops::OptionalTensor(residual) : std::nullopt, activation, y.tensor);
        at::Tensor expected = at::matmul(wide(x), wide(weight).t());
        if (extras) expected = expected + wide(bias);
        // An activation may take most of a sum away (gelu(-4) is -1e-4): what is left carries the sum's own rounding.
        const double sums = expected.abs().max().item<double>();
        expected = activated(expected, activation);
        if (extras) expected = expected + wide(residual);
        const double worst = (wide(y.tensor) - expected).abs().max().item<double>();
        EXPECT_LE(worst, kSum * std::max(sums, expected.abs().max().item<double>()));
      }
    }
  }
}

TEST_P(Operators, Conv2d) {
  tested().insert("conv2d");
  struct Shape {
    std::int64_t images, in, out, height, width, kernel, stride, before, after;
    bool upsample;
  };
  const Shape shapes[] = {{1, 3, 5, 7, 9, 3, 1, 1, 1, false},    {3, 8, 64, 16, 16, 3, 1, 1, 1, false},
                          {2, 48, 19, 5, 6, 3, 2, 1, 1, false},  {2, 17, 33, 9, 8, 3, 2, 0, 1, false},
                          {2, 33, 70, 4, 4, 1, 1, 0, 0, false},  {2, 16, 24, 3, 5, 3, 1, 1, 1, true},
                          {4, 100, 4, 12, 1, 3, 1, 1, 1, false}, {1, 700, 16, 3, 3, 3, 1, 1, 1, false}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(fmt::format("{} x {} x {} x {} -> {}, kernel {}, stride {}", shape.images, shape.in, shape.height,
                             shape.width, shape.out, shape.kernel, shape.stride));
    const at::Tensor x = image({shape.images, shape.in, shape.height, shape.width});
    const at::Tensor weight = at::randn({shape.out, shape.in, shape.kernel, shape.kernel}) / std::sqrt(shape.in);
    at::Tensor source = wide(x);
    if (shape.upsample) source = at::upsample_nearest2d(source, {2 * shape.height - 1, 2 * shape.width});
    source = at::constant_pad_nd(source, {shape.before, shape.after, shape.before, shape.after});
    const at::Tensor plain = at::conv2d(source, wide(weight), {}, shape.stride);
    const at::Tensor residual = image({plain.size(0), plain.size(1), plain.size(2), plain.size(3)});
    for (const std::int64_t sets : {std::int64_t{0}, std::int64_t{1}, shape.images}) {  // no bias, one, one per image
      const at::Tensor bias = at::randn({std::max<std::int64_t>(sets, 1), shape.out});
      Guarded y(plain.sizes().vec());
      ops::conv2d(x, ops::pack_weight(weight), sets > 0 ? ops::OptionalTensor(bias) : std::nullopt,
                  sets > 0 ? ops::OptionalTensor(residual) : std::nullopt, shape.kernel, shape.stride, shape.before,
                  shape.upsample, y.tensor);
      const at::Tensor expected = sets > 0 ? plain + wide(bias).unsqueeze(-1).unsqueeze(-1) + wide(residual) : plain;
      EXPECT_LE(distance(y.tensor, expected), kSum) << sets << " rows of bias";
    }
  }
}

TEST_P(Operators, Conv2dWinograd) {
  tested().insert("conv2d_winograd");
  std::set<int> sides;
  for (const auto& [images, in, out, height, width] : {std::tuple{1, 16, 16, 4, 4},
                                                       {3, 32, 48, 16, 16},
                                                       {2, 80, 16, 7, 9},
                                                       {1, 16, 112, 1, 2},
                                                       {2, 64, 64, 40, 44},
                                                       {1, 16, 16, 6, 6},
                                                       {2, 32, 48, 17, 12},
                                                       {1, 16, 80, 130, 300},
                                                       {1, 208, 64, 8, 8},        // depth in slices
                                                       {1, 208, 1024, 8, 8},      // and a panel's planes in one task
                                                       {3, 16, 3088, 36, 36}}) {  // tiles in chunks
    SCOPED_TRACE(fmt::format("{} x {} x {} x {} -> {}", images, in, height, width, out));
    sides.insert(ops::winograd_outputs(height, width));
    const at::Tensor x = image({images, in, height, width}), weight = at::randn({out, in, 3, 3}) / std::sqrt(in);
    const at::Tensor bias = at::randn({images, out}), residual = image({images, out, height, width});
    const at::Tensor packed = ops::pack_weight(weight);
    Guarded y({images, out, height, width});
    ops::conv2d_winograd(x, packed, bias, residual, false, y.tensor);
    const at::Tensor added = wide(bias).unsqueeze(-1).unsqueeze(-1);
    EXPECT_LE(distance(y.tensor, at::conv2d(wide(x), wide(weight), {}, 1, 1) + added + wide(residual)), kWinograd);

    const at::Tensor enlarged = at::upsample_nearest2d(wide(x), {2 * height, 2 * width});
    Guarded large({images, out, 2 * height, 2 * width});
    ops::conv2d_winograd(x, packed, bias, std::nullopt, true, large.tensor);
    EXPECT_LE(distance(large.tensor, at::conv2d(enlarged, wide(weight), {}, 1, 1) + added), kWinograd) << "enlarged";
    sides.insert(-ops::winograd_outputs(2 * height, 2 * width));
  }
  EXPECT_EQ(sides, (std::set{-6, -4, 4, 6})) << "a size of tile was met on no picture, or no enlarged (-) one";
}

TEST_P(Operators, GroupNormSilu) {
  tested().insert("group_norm_silu");
  struct Shape {
    std::int64_t images, channels, height, width, groups;
  };
  for (const Shape& shape : {Shape{1, 3, 1, 1, 3},
                             {2, 64, 16, 16, 16},
                             {3, 30, 5, 7, 5},
                             {2, 320, 9, 3, 32},
                             {1, 96, 40, 41, 1},
                             {2, 18, 3, 3, 2},
                             {2, 30, 133, 133, 5}}) {  // the last in strips of pixels
    for (const auto& [deviation, mean] :
         {std::pair{1.0, 0.0}, {1e-4, 0.0}, {1.0, 1000.0}, {0.01, -30.0}, {0.0, 5.0}, {1e4, 0.0}}) {
      for (const bool silu : {false, true}) {
        SCOPED_TRACE(fmt::format("{} x {} x {} x {} in {} groups, deviation {}, mean {}, silu {}", shape.images,
                                 shape.channels, shape.height, shape.width, shape.groups, deviation, mean, silu));
        const at::Tensor x = image({shape.images, shape.channels, shape.height, shape.width}) * deviation + mean;
        const at::Tensor weight = at::randn({shape.channels}), bias = at::randn({shape.channels});
        Guarded y({shape.images, shape.channels, shape.height, shape.width});
        ops::group_norm_silu(x, weight, bias, shape.groups, 1e-5, silu, y.tensor);
        const at::Tensor grouped = wide(x).contiguous().view({shape.images, shape.groups, -1});
        const at::Tensor centred = grouped - grouped.mean(-1, true);
        at::Tensor expected = (centred / (centred.square().mean(-1, true) + 1e-5).sqrt()).view_as(x);
        expected = expected * wide(weight).view({1, -1, 1, 1}) + wide(bias).view({1, -1, 1, 1});
        if (silu) expected = at::silu(expected);
        EXPECT_LE(distance(y.tensor, expected), kSum);
      }
    }
  }
}

TEST_P(Operators, LayerNorm) {
  tested().insert("layer_norm");
  for (const auto& [rows, width] : {std::pair{1, 1}, {3, 7}, {70, 48}, {5, 1283}}) {
    for (const auto& [deviation, mean] : {std::pair{1.0, 0.0}, {1e-4, 0.0}, {1.0, 1000.0}, {0.0, 5.0}}) {
      SCOPED_TRACE(fmt::format("{} x {}, deviation {}, mean {}", rows, width, deviation, mean));
      const at::Tensor x = at::randn({1, rows, width}) * deviation + mean, weight = at::randn({width}),
                       bias = at::randn({width});
      Guarded y({1, rows, width});
      ops::layer_norm(x, weight, bias, 1e-5, y.tensor);
      const at::Tensor centred = wide(x) - wide(x).mean(-1, true);
      const at::Tensor expected = centred / (centred.square().mean(-1, true) + 1e-5).sqrt() * wide(weight) + wide(bias);
      EXPECT_LE(distance(y.tensor, expected), kSum);
    }
  }
}

TEST_P(Operators, SelfAttention) {
  tested().insert("self_attention");
  for (const auto& [images, tokens, heads, head_size] :
       {std::tuple{1, 1, 1, 8}, {2, 77, 3, 16}, {3, 16, 6, 32}, {1, 130, 2, 40}, {1, 700, 1, 72}, {2, 65, 1, 5}}) {
    for (const double magnitude : {0.1, 1.0, 12.0}) {  // the last makes the softmax pick single keys
      for (const bool causal : {false, true}) {
        SCOPED_TRACE(fmt::format("{} x {} tokens, {} heads of {}, magnitude {}, causal {}", images, tokens, heads,
                                 head_size, magnitude, causal));
        const std::int64_t width = heads * head_size;
        const at::Tensor qkv = at::randn({images, tokens, 3 * width}) * magnitude;
        Guarded y({images, tokens, width});
        ops::self_attention(qkv, heads, causal, y.tensor);
        const auto parts = qkv.chunk(3, -1);
        // Scores of magnitude 12 * 12 * sqrt(head size) carry a rounding of 1e-4 into the exponent.
        EXPECT_LE(distance(y.tensor, attention(parts[0], parts[1], parts[2], heads, causal)),
                  magnitude > 1 ? 3e-4 : kSum);
      }
    }
  }
}

TEST_P(Operators, SelfAttentionLeavesOutAKeyOfScoreMinusInfinity) {
  const at::Tensor qkv = at::zeros({1, 2, 3 * 40});
  qkv.narrow(2, 0, 40).fill_(1e30);
  qkv.select(1, 1).narrow(1, 40, 40).fill_(-1e30);  // times the query: beyond a float
  qkv.narrow(2, 80, 40).copy_(at::randn({1, 2, 40}));
  Guarded y({1, 2, 40});
  ops::self_attention(qkv, 1, false, y.tensor);
  EXPECT_LE(distance(y.tensor, wide(qkv.select(1, 0).narrow(1, 80, 40)).unsqueeze(1).expand({1, 2, 40})), kSum);
}

TEST_P(Operators, CrossAttention) {
  tested().insert("cross_attention");
  tested().insert("pack_key_value");
  for (const auto& [sets, images, tokens, keys, heads, head_size] :
       {std::tuple{1, 1, 5, 1, 1, 4}, {2, 4, 64, 77, 4, 32}, {3, 3, 100, 16, 2, 40}, {2, 2, 17, 154, 1, 80}}) {
    SCOPED_TRACE(fmt::format("{} sets, {} images, {} queries, {} keys", sets, images, tokens, keys));
    const std::int64_t width = heads * head_size;
    const at::Tensor query = at::randn({images, tokens, width}), key_value = at::randn({sets, keys, 2 * width});
    Guarded y({images, tokens, width});
    ops::cross_attention(query, ops::pack_key_value(key_value, heads), keys, heads, y.tensor);
    const auto parts = key_value.repeat_interleave(images / sets, 0).chunk(2, -1);
    EXPECT_LE(distance(y.tensor, attention(query, parts[0], parts[1], heads, false)), kSum);
  }
}

TEST_P(Operators, ConcatChannels) {
  tested().insert("concat_channels");
  const at::Tensor a = image({2, 5, 13, 11}), b = image({2, 19, 13, 11});
  Guarded y({2, 24, 13, 11});
  ops::concat_channels(a, b, y.tensor);
  EXPECT_TRUE(at::equal(y.tensor, at::cat({a, b}, 1)));
}

TEST_P(Operators, UnetInput) {
  tested().insert("unet_input");
  const at::Tensor latents = at::randn({2, 4, 5, 7});
  Guarded plain({4, 4, 5, 7});
  ops::unet_input(latents, std::nullopt, 0.37, plain.tensor);
  EXPECT_LE(distance(plain.tensor, wide(latents).repeat({2, 1, 1, 1}) * 0.37), kPointwise);
  const at::Tensor condition = at::randn({3, 4, 5, 7});
  Guarded edited({6, 8, 5, 7});
  ops::unet_input(latents, condition, 0.37, edited.tensor);
  const at::Tensor expected =
      at::cat({wide(latents).repeat({3, 1, 1, 1}) * 0.37, wide(condition).repeat_interleave(2, 0)}, 1);
  EXPECT_LE(distance(edited.tensor, expected), kPointwise);
}

TEST_P(Operators, GuidedStep) {
  tested().insert("guided_step");
  const double g = 7.5, gi = 1.5;
  const std::vector<float> scalars = {
      0.9f, -0.3f, 0.2f, 0.5f, -0.25f, 0.125f, 1.1f, -0.7f, static_cast<float>(g), static_cast<float>(gi)};
  for (const std::int64_t rows : {1, 2, 3}) {
    for (const bool all : {false, true}) {
      SCOPED_TRACE(fmt::format("{} rows, history {}", rows, all));
      const std::vector<std::int64_t> sizes = {2, 4, 5, 7};
      const at::Tensor noise_pred = image({2 * rows, 4, 5, 7}), sample = at::randn(sizes), noise = at::randn(sizes);
      const at::Tensor older[3] = {at::randn(sizes), at::randn(sizes), at::randn(sizes)};
      Guarded prev({2 * 4 * 5 * 7}), remembered({2 * 4 * 5 * 7}), guided({2 * 4 * 5 * 7});
      c10::List<ops::OptionalTensor> history;
      for (const auto& tensor : older) history.push_back(all ? ops::OptionalTensor(tensor) : std::nullopt);
      ops::guided_step(noise_pred, sample, all ? ops::OptionalTensor(noise) : std::nullopt, history,
                       at::tensor(scalars), prev.tensor, all ? ops::OptionalTensor(remembered.tensor) : std::nullopt,
                       guided.tensor);
      const auto m = wide(noise_pred).chunk(rows);
      const at::Tensor one = rows == 1   ? m[0]
                             : rows == 2 ? m[0] + g * (m[1] - m[0])
                                         : m[2] + g * (m[0] - m[1]) + gi * (m[1] - m[2]);
      at::Tensor expected = scalars[0] * wide(sample) + scalars[1] * one;
      if (all) {
        expected = expected + scalars[2] * wide(noise);
        for (std::size_t k = 0; k < 3; ++k) expected = expected + scalars[3 + k] * wide(older[k]);
        EXPECT_LE(distance(remembered.tensor, (scalars[6] * wide(sample) + scalars[7] * one).flatten()), kPointwise);
      } else {
        remembered.tensor.zero_();
      }
      EXPECT_LE(distance(prev.tensor, expected.flatten()), kPointwise);
      EXPECT_LE(distance(guided.tensor, one.flatten()), kPointwise);
    }
  }
}

TEST_P(Operators, Pixels) {
  tested().insert("pixels_to_sample");
  tested().insert("sample_to_pixels");
  const at::Tensor rgb = at::arange(0, 11 * 13 * 3, at::kLong).remainder(256).to(at::kByte).view({11, 13, 3});
  Guarded sample({1, 3, 11, 13});
  ops::pixels_to_sample(rgb, sample.tensor);
  EXPECT_LE(distance(sample.tensor, (wide(rgb) / 255 * 2 - 1).permute({2, 0, 1}).unsqueeze(0)), kPointwise);
  at::Tensor decoded = image({2, 3, 5, 7}) * 2;
  Guarded pixels({2 * 5 * 7 * 3});
  ops::sample_to_pixels(decoded, pixels.tensor);
  EXPECT_LE(distance(pixels.tensor, (wide(decoded) / 2 + 0.5).clamp(0, 1).permute({0, 2, 3, 1}).flatten()), kPointwise);
  decoded[0][0][0][0] = NAN;
  Guarded broken({2 * 5 * 7 * 3});
  ops::sample_to_pixels(decoded, broken.tensor);
  EXPECT_TRUE(std::isnan(broken.tensor[0].item<float>())) << "NaN must not be clamped away";
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, Operators, testing::ValuesIn(cpu::instruction_sets()),
                         [](const auto& each) { return std::string(each.param); });

/// After a whole run, no operator may have gone untested.
class WholeTable : public testing::Environment {
 public:
  void TearDown() override {
    if (testing::GTEST_FLAG(filter) != "*") return;
    for (const auto& [name, schema] : ops::all_operators())
      EXPECT_EQ(Operators::tested().count(name), 1u) << name << " is not tested";
  }
};
const testing::Environment* const kWholeTable = testing::AddGlobalTestEnvironment(new WholeTable);

}  // namespace
}  // namespace i2i
