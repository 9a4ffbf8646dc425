// The operators in bfloat16: what they multiply is rounded to the nearest, ties to even; everything else is as exact as
// in float32, on every instruction set.
#include "tests/ops_check.h"

namespace i2i {
namespace {

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); }
at::Tensor packed_bf16(const at::Tensor& weight, bool geglu = false) {
  return ops::pack_weight(weight.to(at::kBFloat16), geglu);
}

TEST_P(Operators, LinearBf16) {
  for (const auto& [rows, in, out] : {std::tuple{1, 1, 1},
                                      {2, 7, 5},
                                      {13, 33, 17},
                                      {97, 64, 48},
                                      {20, 31, 100},
                                      {101, 5000, 31},
                                      {200, 320, 130},
                                      {1700, 96, 64},        // blocks that pass all panels
                                      {300, 2048, 1100}}) {  // weights that no cache keeps
    for (const auto activation : {ops::kNone, ops::kSilu, ops::kQuickGelu, ops::kGelu, ops::kGeglu}) {
      SCOPED_TRACE(fmt::format("{} x {} -> {}, activation {}", rows, in, out, static_cast<int>(activation)));
      if (activation != ops::kNone && rows * in * out > 10'000'000) continue;
      const std::int64_t weight_rows = activation == ops::kGeglu ? 2 * out : out;
      const at::Tensor x = at::randn({1, rows, in}) * 2, weight = at::randn({weight_rows, in}) / std::sqrt(in);
      const at::Tensor bias = at::randn({weight_rows}), residual = at::randn({1, rows, out});
      Guarded y({1, rows, out});
      ops::linear(x, packed_bf16(weight, activation == ops::kGeglu), bias, residual, activation, y.tensor);
      const at::Tensor sums = at::matmul(rounded(x), rounded(weight).t()) + wide(bias);
      const at::Tensor expected = activated(sums, activation) + wide(residual);
      EXPECT_LE((wide(y.tensor) - expected).abs().max().item<double>(),
                kSum * std::max(sums.abs().max().item<double>(), expected.abs().max().item<double>()));
    }
  }
}

TEST_P(Operators, Bf16RoundsToEvenAndKeepsWhatIsNoNumber) {
  // 1 + 2^-8 and 1 + 3 * 2^-8 lie halfway between two bfloat16; the largest float rounds to infinity.
  const std::vector<float> given = {1.00390625f,   1.01171875f, -1.00390625f, 1.00390637f, 0.0f,
                                    3.4028235e38f, INFINITY,    NAN,          1e-30f};
  std::vector<float> expected = {1.0f,     1.015625f, -1.0f, 1.0078125f,          0.0f,
                                 INFINITY, INFINITY,  NAN,   at::BFloat16(1e-30f)};
  for (const std::int64_t rows : {1, 40}) {  // few rows take another way than many
    at::Tensor x = at::zeros({1, rows, static_cast<std::int64_t>(given.size())});
    for (std::size_t k = 0; k < given.size(); ++k) x.select(2, static_cast<std::int64_t>(k)).fill_(given[k]);
    for (std::size_t k = 0; k < given.size(); ++k) {
      at::Tensor one = at::zeros_like(x);
      one.select(2, static_cast<std::int64_t>(k)).copy_(x.select(2, static_cast<std::int64_t>(k)));
      Guarded y({1, rows, 16});
      ops::linear(one, packed_bf16(at::ones({16, one.size(2)})), std::nullopt, std::nullopt, ops::kNone, y.tensor);
      const at::Tensor wanted = at::full({1, rows, 16}, expected[k]);
      EXPECT_TRUE(at::allclose(y.tensor, wanted, 0, 0, true)) << given[k] << " in " << rows << " rows";
    }
  }
}

TEST_P(Operators, Conv2dBf16) {
  struct Shape {
    std::int64_t images, in, out, height, width, kernel, stride, before, after;
    bool upsample;
  };
  const Shape shapes[] = {{1, 3, 5, 7, 9, 3, 1, 1, 1, false},
                          {2, 48, 19, 5, 6, 3, 2, 1, 1, false},
                          {2, 17, 33, 9, 8, 3, 2, 0, 1, false},
                          {2, 33, 70, 4, 4, 1, 1, 0, 0, false},
                          {2, 16, 24, 3, 5, 3, 1, 1, 1, true},
                          {3, 64, 64, 16, 16, 3, 1, 1, 1, false},
                          {1, 320, 4, 12, 3, 3, 1, 1, 1, false},
                          // Rounded in bands: each stride and padding, enlarged, in slices of the taps, few rows.
                          {2, 32, 70, 31, 64, 3, 2, 1, 1, false},
                          {2, 64, 40, 18, 33, 3, 2, 0, 1, false},
                          {3, 32, 16, 9, 8, 3, 1, 1, 1, true},
                          {1, 736, 64, 20, 16, 3, 1, 1, 1, false},
                          {1, 32, 200, 1, 16, 3, 1, 1, 1, false},
                          {1, 96, 64, 70, 528, 3, 1, 1, 1, false}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(fmt::format("{} x {} x {} x {} -> {}, kernel {}, stride {}", shape.images, shape.in, shape.height,
                             shape.width, shape.out, shape.kernel, shape.stride));
    const at::Tensor x = image({shape.images, shape.in, shape.height, shape.width});
    const at::Tensor weight = at::randn({shape.out, shape.in, shape.kernel, shape.kernel}) / std::sqrt(shape.in);
    at::Tensor source = rounded(x);
    const bool twofold = shape.in % 32 == 0;
    if (shape.upsample) {
      source = at::upsample_nearest2d(source, {2 * shape.height - (twofold ? 0 : 1), 2 * shape.width});
    }
    source = at::constant_pad_nd(source, {shape.before, shape.after, shape.before, shape.after});
    const at::Tensor plain = at::conv2d(source, rounded(weight), {}, shape.stride);
    const at::Tensor residual = image({plain.size(0), plain.size(1), plain.size(2), plain.size(3)});
    const at::Tensor bias = at::randn({shape.images, shape.out});
    Guarded y(plain.sizes().vec());
    ops::conv2d(x, packed_bf16(weight), bias, residual, shape.kernel, shape.stride, shape.before, shape.upsample,
                y.tensor);
    EXPECT_LE(distance(y.tensor, plain + wide(bias).unsqueeze(-1).unsqueeze(-1) + wide(residual)), kSum);
  }
}

/// Softmax weights are rounded too, each by up to 2^-8 of itself: no mean of values may be further off than that share
/// of the mean of their magnitudes.
void expect_attention(const at::Tensor& got, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      std::int64_t heads) {
  const at::Tensor expected = attention(rounded(query), rounded(key), rounded(value), heads, false);
  const at::Tensor magnitudes = attention(rounded(query), rounded(key), rounded(value).abs(), heads, false);
  const at::Tensor furthest = magnitudes / 256 + kSum * expected.abs().max();
  EXPECT_TRUE(((wide(got) - expected).abs() <= furthest).all().item<bool>())
      << "up to " << ((wide(got) - expected).abs() / furthest).max().item<double>() << " of what is allowed";
}

TEST_P(Operators, SelfAttentionBf16) {
  tested().insert("self_attention_bf16");
  for (const auto& [images, tokens, heads, head_size] : {std::tuple{1, 1, 1, 8},
                                                         {2, 77, 3, 16},
                                                         {3, 16, 6, 32},
                                                         {1, 130, 2, 40},
                                                         {1, 1300, 1, 72},
                                                         {2, 65, 1, 5},
                                                         {1, 700, 1, 512}}) {
    for (const double magnitude : {0.1, 1.0, 4.0}) {
      SCOPED_TRACE(
          fmt::format("{} x {} tokens, {} heads of {}, magnitude {}", images, tokens, heads, head_size, magnitude));
      const std::int64_t width = heads * head_size;
      const at::Tensor qkv = at::randn({images, tokens, 3 * width}) * magnitude;
      Guarded y({images, tokens, width});
      ops::self_attention_bf16(qkv, heads, y.tensor);
      const auto parts = qkv.chunk(3, -1);
      expect_attention(y.tensor, parts[0], parts[1], parts[2], heads);
    }
  }
  // Keys that are all alike: each weight is 1, and nothing is left to round.
  at::Tensor alike = at::randn({2, 333, 3 * 80});
  alike.narrow(2, 80, 80) = 1;
  Guarded mean({2, 333, 80});
  ops::self_attention_bf16(alike, 2, mean.tensor);
  EXPECT_LE(distance(mean.tensor, rounded(alike.narrow(2, 160, 80)).mean(1, true).expand({2, 333, 80})), kSum);
  alike[0][5][3] = NAN;
  Guarded broken({2, 333, 80});
  ops::self_attention_bf16(alike, 2, broken.tensor);
  EXPECT_TRUE(std::isnan(broken.tensor[0][5][0].item<float>())) << "NaN must not become a number";
}

TEST_P(Operators, CrossAttentionBf16) {
  for (const auto& [sets, images, tokens, keys, heads, head_size] :
       {std::tuple{1, 1, 5, 1, 1, 4}, {2, 4, 64, 77, 4, 32}, {3, 3, 100, 16, 2, 40}, {2, 2, 17, 154, 1, 80}}) {
    SCOPED_TRACE(fmt::format("{} sets, {} images, {} queries, {} keys", sets, images, tokens, keys));
    const std::int64_t width = heads * head_size;
    const at::Tensor query = at::randn({images, tokens, width});
    const at::Tensor key_value = at::randn({sets, keys, 2 * width}).to(at::kBFloat16);
    Guarded y({images, tokens, width});
    ops::cross_attention(query, ops::pack_key_value(key_value, heads), keys, heads, y.tensor);
    const auto parts = key_value.repeat_interleave(images / sets, 0).chunk(2, -1);
    expect_attention(y.tensor, query, parts[0], parts[1], heads);
  }
}

}  // namespace
}  // namespace i2i
