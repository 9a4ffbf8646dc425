// The operators in bytes: exact where bytes lose nothing, elsewhere as far off as rounding explains.
#include "tests/ops_check.h"

namespace i2i {
namespace {

// Weights whose bytes are the weights: whole numbers, and 127 in each row, so that its step is 1.
at::Tensor whole_weights(const std::vector<std::int64_t>& sizes) {
  at::Tensor weight = at::randint(-127, 128, sizes).to(at::kFloat);
  weight.flatten(1).select(1, sizes[1] / 2).fill_(127);
  return weight;
}

/// Where rounding x and w to their steps must leave the sums: its root mean square if roundings are independent.
/// @param depth  products per sum
double rounding_noise(const at::Tensor& x, double x_step, const at::Tensor& w, double w_step, std::int64_t depth) {
  const double x_square = wide(x).square().mean().item<double>(), w_square = wide(w).square().mean().item<double>();
  return std::sqrt(static_cast<double>(depth) / 12 * (x_step * x_step * w_square + w_step * w_step * x_square));
}

TEST_P(Operators, LinearInt8) {
  tested().insert("linear_int8");
  tested().insert("pack_weight_int8");
  for (const auto& [rows, in, out] :
       {std::tuple{1, 1, 1}, {2, 7, 5}, {13, 33, 17}, {97, 64, 48}, {101, 900, 31}, {1700, 320, 130}}) {
    SCOPED_TRACE(fmt::format("{} x {} -> {}", rows, in, out));
    // The same for activations: then bytes lose nothing and the result is the product itself. All at their extremes is
    // where adding two products in 16 bits would saturate.
    for (const bool extreme : {false, true}) {
      at::Tensor x = at::randint(-127, 128, {1, rows, in}).to(at::kFloat), weight = whole_weights({out, in});
      x.select(2, in / 2).fill_(-127);
      if (extreme) {
        x = at::where(x < 0, at::full({}, -127.0f), at::full({}, 127.0f));
        weight = at::where(weight < -60, at::full({}, -127.0f), at::full({}, 127.0f));
      }
      Guarded y({1, rows, out});
      ops::linear_int8(x, ops::pack_weight_int8(weight), std::nullopt, std::nullopt, ops::kNone, y.tensor);
      EXPECT_TRUE(at::equal(y.tensor, at::matmul(wide(x), wide(weight).t()).to(at::kFloat))) << "extreme " << extreme;
    }
    // In general the distance is what rounding explains. Rows differ in magnitude by 1e6: each has its own step.
    const at::Tensor x = at::randn({1, rows, in}) * at::logspace(-3, 3, rows).view({1, rows, 1});
    const at::Tensor weight = at::randn({out, in}), residual = at::randn({1, rows, out}), bias = at::randn({out});
    Guarded y({1, rows, out});
    ops::linear_int8(x, ops::pack_weight_int8(weight), bias, residual, ops::kNone, y.tensor);
    const at::Tensor error = wide(y.tensor) - at::linear(wide(x), wide(weight), wide(bias)) - wide(residual);
    const at::Tensor x_step = wide(x).abs().amax(-1, true) / 127, w_step = wide(weight).abs().amax(1) / 127;
    const at::Tensor furthest = x_step / 2 * wide(weight).abs().sum(1) + w_step / 2 * wide(x).abs().sum(-1, true) +
                                x_step * w_step / 4 * in + 1e-5;
    EXPECT_TRUE((error.abs() <= furthest).all().item<bool>());
    if (rows * out < 1000 || in < 30) continue;
    const double share = (error / furthest).square().mean().sqrt().item<double>();
    EXPECT_LE(share, 0.75 / std::sqrt(in)) << "worse than rounding";  // 0.51 is, truncation would be twice as far
  }
}

TEST_P(Operators, LinearInt8Activations) {
  for (const auto& [rows, in, out] : {std::tuple{3, 64, 24}, {50, 320, 130}}) {
    for (const auto activation : {ops::kNone, ops::kSilu, ops::kQuickGelu, ops::kGelu, ops::kGeglu}) {
      SCOPED_TRACE(fmt::format("{} x {} -> {}, activation {}", rows, in, out, static_cast<int>(activation)));
      const std::int64_t weight_rows = activation == ops::kGeglu ? 2 * out : out;
      at::Tensor x = at::randint(-9, 10, {1, rows, in}).to(at::kFloat);
      x.select(2, 1).fill_(127);
      const at::Tensor weight = whole_weights({weight_rows, in}) / 4096, bias = at::randn({weight_rows}),
                       residual = at::randn({1, rows, out});
      Guarded y({1, rows, out});
      ops::linear_int8(x, ops::pack_weight_int8(weight, activation == ops::kGeglu), bias, residual, activation,
                       y.tensor);
      const at::Tensor sums = at::linear(wide(x), wide(weight), wide(bias));
      const at::Tensor expected = activated(sums, activation) + wide(residual);
      EXPECT_LE((wide(y.tensor) - expected).abs().max().item<double>(),
                kSum * std::max(sums.abs().max().item<double>(), expected.abs().max().item<double>()));
    }
  }
}

TEST_P(Operators, Int8KeepsNanAndZero) {
  at::Tensor x = at::randn({1, 4, 40});
  x[0][0].zero_();
  x[0][1][38] = NAN;
  x[0][2][3] = INFINITY;
  Guarded y({1, 4, 20});
  ops::linear_int8(x, ops::pack_weight_int8(at::randn({20, 40})), std::nullopt, std::nullopt, ops::kNone, y.tensor);
  EXPECT_EQ(y.tensor[0][0].abs().max().item<float>(), 0);
  EXPECT_TRUE(at::isnan(y.tensor[0][1]).all().item<bool>()) << "NaN must not become a number";
  EXPECT_TRUE(at::isnan(y.tensor[0][2]).all().item<bool>()) << "infinity must not become a number";
  EXPECT_TRUE(at::isfinite(y.tensor[0][3]).all().item<bool>());
}

TEST_P(Operators, Conv2dInt8) {
  tested().insert("conv2d_int8");
  struct Shape {
    std::int64_t images, in, out, height, width, kernel, stride, before, after;
    bool upsample;
  };
  const Shape shapes[] = {{1, 3, 5, 7, 9, 3, 1, 1, 1, false},   {2, 48, 19, 5, 6, 3, 2, 1, 1, false},
                          {2, 17, 33, 9, 8, 3, 2, 0, 1, false}, {2, 33, 70, 4, 4, 1, 1, 0, 0, false},
                          {2, 16, 24, 3, 5, 3, 1, 1, 1, true},  {3, 64, 64, 16, 16, 3, 2, 1, 1, false}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(fmt::format("{} x {} x {} x {} -> {}, kernel {}, stride {}", shape.images, shape.in, shape.height,
                             shape.width, shape.out, shape.kernel, shape.stride));
    at::Tensor x = at::randint(-127, 128, {shape.images, shape.in, shape.height, shape.width}).to(at::kFloat);
    x.select(1, 0).fill_(127);  // each window's step is 1
    x = x.contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor weight = whole_weights({shape.out, shape.in, shape.kernel, shape.kernel});
    at::Tensor source = wide(x);
    if (shape.upsample) source = at::upsample_nearest2d(source, {2 * shape.height - 1, 2 * shape.width});
    source = at::constant_pad_nd(source, {shape.before, shape.after, shape.before, shape.after});
    const at::Tensor plain = at::conv2d(source, wide(weight), {}, shape.stride);
    const at::Tensor bias = at::randint(-99, 100, {shape.images, shape.out}).to(at::kFloat);
    const at::Tensor residual =
        at::randint(-99, 100, plain.sizes()).to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
    Guarded y(plain.sizes().vec());
    ops::conv2d_int8(x, ops::pack_weight_int8(weight), bias, residual, shape.kernel, shape.stride, shape.before,
                     shape.upsample, y.tensor);
    const at::Tensor expected = plain + wide(bias).unsqueeze(-1).unsqueeze(-1) + wide(residual);
    EXPECT_TRUE(at::equal(y.tensor, expected.to(at::kFloat)));
  }
}

/// Sixteen channels in which every plane of every tile of F(2x2, 3x3) reaches 127, 254 or 508, the tiles at the border
/// included: products of four patterns along an axis whose sums and differences of neighbours are 2 or 0.
at::Tensor tiles_at_full_range(std::int64_t images, std::int64_t height, std::int64_t width) {
  const auto pattern = [](std::int64_t which, std::int64_t i) {
    constexpr float kPatterns[4][4] = {{1, 1, 1, 1}, {1, -1, 1, -1}, {1, 1, -1, -1}, {1, -1, -1, 1}};
    return kPatterns[which][i % 4];
  };
  at::Tensor x = at::empty({images, 16, height, width});
  for (std::int64_t c = 0; c < 16; ++c) {
    for (std::int64_t i = 0; i < height; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        x.select(1, c).select(1, i).select(1, j).fill_(127 * pattern(c / 4, i) * pattern(c % 4, j));
      }
    }
  }
  return x;
}

TEST_P(Operators, Conv2dWinogradInt8) {
  tested().insert("conv2d_winograd_int8");
  tested().insert("pack_winograd_int8");
  for (const auto& [images, in, out, height, width] : {std::tuple{1, 32, 16, 2, 2},
                                                       {3, 32, 48, 16, 16},
                                                       {2, 80, 16, 7, 9},
                                                       {1, 32, 112, 1, 2},
                                                       {2, 64, 64, 20, 22},
                                                       {1, 32, 80, 71, 70}}) {  // the last in whole blocks of tiles
    SCOPED_TRACE(fmt::format("{} x {} x {} x {} -> {}", images, in, height, width, out));
    // Steps of 1, 2 and 4, and values that are multiples of 4: bytes lose nothing, and the result is the convolution.
    at::Tensor x = at::randint(-7, 8, {images, in, height, width}).to(at::kFloat) * 4;
    x.narrow(1, 0, 16).copy_(tiles_at_full_range(images, height, width));
    x = x.contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor weight = at::randint(-7, 8, {out, in, 3, 3}).to(at::kFloat) * 4;
    weight.select(1, 3).zero_();
    for (const auto& [i, j] : {std::pair{0, 0}, {0, 2}, {2, 0}, {2, 2}})
      weight.select(1, 3).select(1, i).select(1, j) = 127;
    const at::Tensor bias = at::randint(-99, 100, {images, out}).to(at::kFloat);
    const at::Tensor residual =
        at::randint(-99, 100, {images, out, height, width}).to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor added = wide(bias).unsqueeze(-1).unsqueeze(-1);
    Guarded y({images, out, height, width});
    ops::conv2d_winograd_int8(x, ops::pack_winograd_int8(weight), bias, residual, false, y.tensor);
    const at::Tensor exact = at::conv2d(wide(x), wide(weight), {}, 1, 1) + added + wide(residual);
    EXPECT_TRUE(at::equal(y.tensor, exact.to(at::kFloat)));

    // In general, and on an enlarged picture, the distance is what rounding explains.
    const at::Tensor random = image({images, in, height, width}), weights = at::randn({out, in, 3, 3});
    const at::Tensor packed = ops::pack_winograd_int8(weights);
    const double direct = rounding_noise(random, 3.0 / 127, weights, 3.0 / 127, 9 * in);
    Guarded plain({images, out, height, width});
    ops::conv2d_winograd_int8(random, packed, bias, std::nullopt, false, plain.tensor);
    const at::Tensor error = wide(plain.tensor) - added - at::conv2d(wide(random), wide(weights), {}, 1, 1);
    EXPECT_LE(error.square().mean().sqrt().item<double>(), 2.5 * direct);  // the transforms' share is 1.7
    const at::Tensor enlarged = at::upsample_nearest2d(wide(random), {2 * height, 2 * width});
    Guarded large({images, out, 2 * height, 2 * width});
    ops::conv2d_winograd_int8(random, packed, bias, std::nullopt, true, large.tensor);
    const at::Tensor large_error = wide(large.tensor) - added - at::conv2d(enlarged, wide(weights), {}, 1, 1);
    EXPECT_LE(large_error.square().mean().sqrt().item<double>(), 2.5 * direct) << "enlarged";
  }
}

TEST_P(Operators, SelfAttentionInt8) {
  tested().insert("self_attention_int8");
  for (const auto& [images, tokens, heads, head_size] :
       {std::tuple{1, 1, 1, 8}, {2, 77, 3, 16}, {3, 16, 6, 32}, {1, 130, 2, 40}, {1, 1300, 1, 72}, {2, 65, 1, 5}}) {
    for (const double magnitude : {0.1, 1.0, 4.0}) {
      SCOPED_TRACE(
          fmt::format("{} x {} tokens, {} heads of {}, magnitude {}", images, tokens, heads, head_size, magnitude));
      const std::int64_t width = heads * head_size;
      at::Tensor qkv = at::randn({images, tokens, 3 * width}) * magnitude;
      qkv.narrow(2, width, width) += 50 * at::randn({width});  // what all keys share changes no softmax
      Guarded y({images, tokens, width});
      ops::self_attention_int8(qkv, heads, y.tensor);
      const auto parts = wide(qkv).chunk(3, -1);
      const at::Tensor key = parts[1] - parts[1].mean(1, true);
      const at::Tensor expected = attention(parts[0], key, parts[2], heads, false);
      // Scores of magnitude m^2 are off by 1.4 % of it, values by 0.4 % of the largest one, which a mean of many is far
      // below.
      EXPECT_LE(distance(y.tensor, expected), 0.02 + 0.03 * magnitude * magnitude);
    }
  }
  // Steps of 1 (keys come with their opposites, so that their mean is zero): nothing is left to round but the weights.
  // More keys than are held at a time; half a vector of channels.
  at::Tensor whole = at::randint(-127, 128, {1, 600, 120}).to(at::kFloat);
  whole.select(2, 0).fill_(127);
  whole.select(2, 40).fill_(127);
  whole.narrow(1, 300, 300).narrow(2, 40, 40).copy_(-whole.narrow(1, 0, 300).narrow(2, 40, 40));
  whole.narrow(1, 0, 1).narrow(2, 80, 40).fill_(127);
  whole.narrow(2, 0, 40) *= 3e-4;
  Guarded exact({1, 600, 40});
  ops::self_attention_int8(whole, 1, exact.tensor);
  const auto steps = whole.chunk(3, -1);
  EXPECT_LE(distance(exact.tensor, attention(steps[0], steps[1], steps[2], 1, false)),
            4e-4);  // 2.7e-4 is: a few keys in 15 bits
  // Values alone, in whole steps and all alike: weights add up to one, so each query gives the value back.
  at::Tensor alike = at::randn({1, 600, 48});
  alike.narrow(2, 32, 16).copy_(at::arange(-127, 129, 17).to(at::kFloat).slice(0, 0, 16).expand({1, 600, 16}));
  Guarded same({1, 600, 16});
  ops::self_attention_int8(alike, 2, same.tensor);
  EXPECT_LE(distance(same.tensor, wide(alike.narrow(2, 32, 16))), 2e-3);
  alike[0][5][3] = NAN;
  Guarded broken({1, 600, 16});
  ops::self_attention_int8(alike, 2, broken.tensor);
  EXPECT_TRUE(std::isnan(broken.tensor[0][5][0].item<float>())) << "NaN must not become a number";
}

}  // namespace
}  // namespace i2i
