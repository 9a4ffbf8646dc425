#include "harness/kernel_cases.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/operator_work.h"
#include "optimized/ops.h"

namespace i2i {
namespace {

constexpr double kFloatBytes = 4;

at::Tensor channels_last(const std::vector<std::int64_t>& sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast);
}

// The formula is written once, over tensors of either precision: fp32 is the rival, float64 the truth.
using Formula = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

PreparedKernel prepared(std::function<void()> optimized, const at::Tensor& out, const Formula& formula,
                        const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> wide;
  for (const at::Tensor& input : inputs) wide.push_back(input.is_floating_point() ? input.to(at::kDouble) : input);
  return {std::move(optimized), [formula, inputs] { return formula(inputs); },
          [formula, wide] { return formula(wide); }, out};
}

at::Tensor heads_first(const at::Tensor& x, std::int64_t heads) { return x.unflatten(-1, {heads, -1}).transpose(1, 2); }

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, std::int64_t heads) {
  return at::scaled_dot_product_attention(heads_first(query, heads), heads_first(key, heads), heads_first(value, heads))
      .transpose(1, 2)
      .flatten(2);
}

/// Bf16 has no operators of its own where the packed weight says it.
std::string named(const std::string& name, Operands type) {
  return name + (type == Operands::kInt8 ? "_int8" : type == Operands::kBf16 ? "_bf16" : "");
}

at::Tensor packed_as(const at::Tensor& weight, Operands type, bool geglu = false) {
  if (type == Operands::kInt8) return ops::pack_weight_int8(weight, geglu);
  return ops::pack_weight(type == Operands::kBf16 ? weight.to(at::kBFloat16) : weight, geglu);
}

enum class Convolution { kDirect, kBf16, kWinograd, kInt8, kWinogradInt8 };

const char* name_of(Convolution how) {
  switch (how) {
    case Convolution::kDirect:
      return "conv2d";
    case Convolution::kBf16:
      return "conv2d_bf16";
    case Convolution::kWinograd:
      return "conv2d_winograd";
    case Convolution::kInt8:
      return "conv2d_int8";
    case Convolution::kWinogradInt8:
      return "conv2d_winograd_int8";
  }
  return "";
}

KernelCase convolution(const std::string& layer, std::int64_t n, std::int64_t in, std::int64_t out, std::int64_t side,
                       std::int64_t kernel, Convolution how) {
  const auto pixels = static_cast<double>(n * side * side);
  const auto weights = static_cast<double>(in * out * kernel * kernel);
  return {
      name_of(how), fmt::format("{} {}x{} {}->{} k{} batch {}", layer, side, side, in, out, kernel, n),
      2 * pixels * weights, kFloatBytes * (pixels * static_cast<double>(in + out) + weights), [=] {
        const at::Tensor x = channels_last({n, in, side, side});
        const at::Tensor weight = at::randn({out, in, kernel, kernel}) / std::sqrt(static_cast<double>(in * kernel));
        const at::Tensor bias = at::randn({out}), y = at::empty_like(channels_last({n, out, side, side}));
        const at::Tensor packed = how == Convolution::kWinogradInt8 ? ops::pack_winograd_int8(weight)
                                  : how == Convolution::kInt8       ? packed_as(weight, Operands::kInt8)
                                  : how == Convolution::kBf16       ? packed_as(weight, Operands::kBf16)
                                                                    : packed_as(weight, Operands::kFloat32);
        const at::Tensor bias_row = bias.unsqueeze(0);
        return prepared(
            [=] {
              switch (how) {
                case Convolution::kDirect:
                case Convolution::kBf16:
                  return ops::conv2d(x, packed, bias_row, std::nullopt, kernel, 1, kernel / 2, false, y);
                case Convolution::kWinograd:
                  return ops::conv2d_winograd(x, packed, bias_row, std::nullopt, false, y);
                case Convolution::kInt8:
                  return ops::conv2d_int8(x, packed, bias_row, std::nullopt, kernel, 1, kernel / 2, false, y);
                case Convolution::kWinogradInt8:
                  return ops::conv2d_winograd_int8(x, packed, bias_row, std::nullopt, false, y);
              }
            },
            y,
            [kernel](const std::vector<at::Tensor>& given) {
              return at::conv2d(given[0], given[1], given[2], 1, kernel / 2);
            },
            {x.contiguous(), weight, bias});
      }};
}

KernelCase linear(const std::string& layer, std::int64_t rows, std::int64_t in, std::int64_t out, bool geglu,
                  Operands type = Operands::kFloat32) {
  const std::int64_t weight_rows = geglu ? 2 * out : out;
  const auto weights = static_cast<double>(in * weight_rows);
  return {named("linear", type), fmt::format("{} {} rows {}->{}{}", layer, rows, in, out, geglu ? " geglu" : ""),
          2 * static_cast<double>(rows) * weights, kFloatBytes * (static_cast<double>(rows * (in + out)) + weights),
          [=] {
            const at::Tensor x = at::randn({1, rows, in});
            const at::Tensor weight = at::randn({weight_rows, in}) / std::sqrt(static_cast<double>(in));
            const at::Tensor bias = at::randn({weight_rows}), y = at::empty({1, rows, out});
            const at::Tensor packed = packed_as(weight, type, geglu);
            const auto activation = geglu ? ops::kGeglu : ops::kNone;
            return prepared(
                [=] {
                  if (type == Operands::kInt8) {
                    ops::linear_int8(x, packed, bias, std::nullopt, activation, y);
                  } else {
                    ops::linear(x, packed, bias, std::nullopt, activation, y);
                  }
                },
                y,
                [geglu](const std::vector<at::Tensor>& given) {
                  const at::Tensor sums = at::linear(given[0], given[1], given[2]);
                  return geglu ? sums.chunk(2, -1)[0] * at::gelu(sums.chunk(2, -1)[1]) : sums;
                },
                {x, weight, bias});
          }};
}

KernelCase group_norm(const std::string& layer, std::int64_t n, std::int64_t channels, std::int64_t side,
                      std::int64_t groups) {
  return {"group_norm_silu", fmt::format("{} {}x{} {} batch {}", layer, side, side, channels, n), 0,
          2 * kFloatBytes * static_cast<double>(n * channels * side * side), [=] {
            const at::Tensor x = channels_last({n, channels, side, side}), weight = at::randn({channels}),
                             bias = at::randn({channels}), y = at::empty_like(x);
            return prepared([=] { ops::group_norm_silu(x, weight, bias, groups, 1e-5, true, y); }, y,
                            [groups](const std::vector<at::Tensor>& given) {
                              return at::silu(at::group_norm(given[0], groups, given[1], given[2], 1e-5));
                            },
                            {x.contiguous(), weight, bias});
          }};
}

KernelCase layer_norm(const std::string& layer, std::int64_t rows, std::int64_t width) {
  return {"layer_norm", fmt::format("{} {} rows of {}", layer, rows, width), 0,
          2 * kFloatBytes * static_cast<double>(rows * width), [=] {
            const at::Tensor x = at::randn({1, rows, width}), weight = at::randn({width}), bias = at::randn({width}),
                             y = at::empty_like(x);
            return prepared([=] { ops::layer_norm(x, weight, bias, 1e-5, y); }, y,
                            [width](const std::vector<at::Tensor>& given) {
                              return at::layer_norm(given[0], {width}, given[1], given[2], 1e-5);
                            },
                            {x, weight, bias});
          }};
}

KernelCase self_attention(const std::string& layer, std::int64_t n, std::int64_t tokens, std::int64_t heads,
                          std::int64_t head_size, Operands type = Operands::kFloat32) {
  const std::int64_t width = heads * head_size;
  return {named("self_attention", type),
          fmt::format("{} {} tokens {} heads of {} batch {}", layer, tokens, heads, head_size, n),
          4 * static_cast<double>(n * tokens * tokens * width),
          kFloatBytes * static_cast<double>(4 * n * tokens * width), [=] {
            const at::Tensor qkv = at::randn({n, tokens, 3 * width}), y = at::empty({n, tokens, width});
            return prepared(
                [=] {
                  if (type == Operands::kInt8) {
                    ops::self_attention_int8(qkv, heads, y);
                  } else if (type == Operands::kBf16) {
                    ops::self_attention_bf16(qkv, heads, y);
                  } else {
                    ops::self_attention(qkv, heads, false, y);
                  }
                },
                y,
                [heads](const std::vector<at::Tensor>& given) {
                  const auto parts = given[0].chunk(3, -1);
                  return attention(parts[0], parts[1], parts[2], heads);
                },
                {qkv});
          }};
}

KernelCase cross_attention(const std::string& layer, std::int64_t n, std::int64_t tokens, std::int64_t keys,
                           std::int64_t heads, std::int64_t head_size) {
  const std::int64_t width = heads * head_size;
  return {"cross_attention",
          fmt::format("{} {} tokens {} keys {} heads of {} batch {}", layer, tokens, keys, heads, head_size, n),
          4 * static_cast<double>(n * tokens * keys * width),
          kFloatBytes * static_cast<double>(2 * n * (tokens + keys) * width), [=] {
            const at::Tensor query = at::randn({n, tokens, width}), key_value = at::randn({n, keys, 2 * width}),
                             y = at::empty({n, tokens, width});
            const at::Tensor packed = ops::pack_key_value(key_value, heads);
            return prepared([=] { ops::cross_attention(query, packed, keys, heads, y); }, y,
                            [heads](const std::vector<at::Tensor>& given) {
                              const auto parts = given[1].chunk(2, -1);
                              return attention(given[0], parts[0], parts[1], heads);
                            },
                            {query, key_value});
          }};
}

KernelCase guided_step(const std::string& layer, std::int64_t side) {
  return {
      "guided_step", fmt::format("{} {}x{} three-way, one former output", layer, side, side), 0,
      kFloatBytes * static_cast<double>(7 * 4 * side * side), [=] {
        const at::Tensor noise_pred = channels_last({3, 4, side, side}), sample = at::randn({1, 4, side, side}),
                         older = at::randn({1, 4, side, side}), prev = at::empty_like(sample),
                         remembered = at::empty_like(sample);
        const at::Tensor row = at::tensor({0.9f, -0.3f, 0.0f, 0.5f, 0.0f, 0.0f, 1.1f, -0.7f, 7.5f, 1.5f});
        c10::List<ops::OptionalTensor> history;
        history.push_back(older);
        history.push_back(std::nullopt);
        history.push_back(std::nullopt);
        return prepared(
            [=] { ops::guided_step(noise_pred, sample, std::nullopt, history, row, prev, remembered, std::nullopt); },
            prev,
            [](const std::vector<at::Tensor>& given) {
              const auto m = given[0].chunk(3);
              const at::Tensor guided = m[2] + 7.5 * (m[0] - m[1]) + 1.5 * (m[1] - m[2]);
              return static_cast<double>(0.9f) * given[1] + static_cast<double>(-0.3f) * guided + 0.5 * given[2];
            },
            {noise_pred.contiguous(), sample, older});
      }};
}

KernelCase pixels(std::int64_t side) {
  return {"sample_to_pixels", fmt::format("{}x{}", side, side), 0,
          2 * kFloatBytes * static_cast<double>(3 * side * side), [=] {
            const at::Tensor sample = channels_last({1, 3, side, side}), y = at::empty({1, side, side, 3});
            return prepared([=] { ops::sample_to_pixels(sample, y); }, y,
                            [](const std::vector<at::Tensor>& given) {
                              return (given[0] / 2 + 0.5).clamp(0, 1).permute({0, 2, 3, 1}).contiguous();
                            },
                            {sample.contiguous()});
          }};
}

}  // namespace

std::vector<KernelCase> kernel_cases() {
  // Layers of Stable Diffusion 1.5 at 512 x 512 with guidance (batch 2), of its VAE, and of the embedded model.
  return {linear("sd15", 8192, 320, 320, false),
          linear("sd15", 8192, 320, 1280, true),
          linear("sd15", 2048, 640, 640, false),
          linear("sd15", 512, 1280, 5120, true),
          linear("sd15", 8192, 1280, 320, false),
          linear("scenes", 192, 128, 512, true),
          convolution("sd15", 2, 320, 320, 64, 1, Convolution::kDirect),
          convolution("sd15", 2, 320, 320, 64, 3, Convolution::kDirect),
          convolution("sd15", 2, 1280, 1280, 8, 3, Convolution::kDirect),
          convolution("scenes", 3, 96, 96, 16, 3, Convolution::kDirect),
          convolution("sd15", 2, 320, 320, 64, 3, Convolution::kWinograd),
          convolution("sd15", 2, 640, 640, 32, 3, Convolution::kWinograd),
          convolution("sd15", 2, 1280, 1280, 16, 3, Convolution::kWinograd),
          convolution("sd15", 2, 1280, 1280, 8, 3, Convolution::kWinograd),
          convolution("vae", 1, 128, 128, 256, 3, Convolution::kWinograd),
          convolution("vae", 1, 256, 256, 256, 3, Convolution::kWinograd),
          convolution("vae", 1, 512, 512, 64, 3, Convolution::kWinograd),
          convolution("scenes", 3, 96, 96, 16, 3, Convolution::kWinograd),
          linear("sd15", 8192, 320, 320, false, Operands::kInt8),
          linear("sd15", 8192, 320, 1280, true, Operands::kInt8),
          linear("sd15", 2048, 640, 640, false, Operands::kInt8),
          linear("sd15", 512, 1280, 5120, true, Operands::kInt8),
          linear("sd15", 8192, 1280, 320, false, Operands::kInt8),
          linear("scenes", 192, 128, 512, true, Operands::kInt8),
          convolution("sd15", 2, 320, 320, 64, 1, Convolution::kInt8),
          convolution("sd15", 2, 320, 320, 64, 3, Convolution::kInt8),
          convolution("sd15", 2, 1280, 1280, 8, 3, Convolution::kInt8),
          convolution("sd15", 2, 320, 320, 64, 3, Convolution::kWinogradInt8),
          convolution("sd15", 2, 640, 640, 32, 3, Convolution::kWinogradInt8),
          convolution("sd15", 2, 1280, 1280, 16, 3, Convolution::kWinogradInt8),
          convolution("sd15", 2, 1280, 1280, 8, 3, Convolution::kWinogradInt8),
          convolution("vae", 1, 128, 128, 256, 3, Convolution::kWinogradInt8),
          convolution("vae", 1, 512, 512, 64, 3, Convolution::kWinogradInt8),
          convolution("scenes", 3, 96, 96, 16, 3, Convolution::kWinogradInt8),
          linear("sd15", 8192, 320, 320, false, Operands::kBf16),
          linear("sd15", 8192, 320, 1280, true, Operands::kBf16),
          linear("sd15", 2048, 640, 640, false, Operands::kBf16),
          linear("sd15", 512, 1280, 5120, true, Operands::kBf16),
          linear("sd15", 8192, 1280, 320, false, Operands::kBf16),
          linear("scenes", 192, 128, 512, true, Operands::kBf16),
          convolution("sd15", 2, 320, 320, 64, 1, Convolution::kBf16),
          convolution("sd15", 2, 320, 320, 64, 3, Convolution::kBf16),
          convolution("sd15", 2, 640, 640, 32, 3, Convolution::kBf16),
          convolution("sd15", 2, 1280, 1280, 16, 3, Convolution::kBf16),
          convolution("sd15", 2, 1280, 1280, 8, 3, Convolution::kBf16),
          convolution("vae", 1, 128, 128, 256, 3, Convolution::kBf16),
          convolution("vae", 1, 512, 512, 64, 3, Convolution::kBf16),
          convolution("scenes", 3, 96, 96, 16, 3, Convolution::kBf16),
          group_norm("sd15", 2, 320, 64, 32),
          group_norm("vae", 1, 128, 512, 32),
          group_norm("scenes", 3, 96, 16, 16),
          layer_norm("sd15", 8192, 320),
          self_attention("sd15", 2, 4096, 8, 40),
          self_attention("sd15", 2, 1024, 8, 80),
          self_attention("sdxl", 2, 1024, 10, 64),
          self_attention("scenes", 3, 64, 4, 32),
          self_attention("sd15", 2, 4096, 8, 40, Operands::kInt8),
          self_attention("sd15", 2, 1024, 8, 80, Operands::kInt8),
          self_attention("scenes", 3, 64, 4, 32, Operands::kInt8),
          self_attention("sd15", 2, 4096, 8, 40, Operands::kBf16),
          self_attention("sd15", 2, 1024, 8, 80, Operands::kBf16),
          self_attention("vae", 1, 4096, 1, 512, Operands::kBf16),
          self_attention("scenes", 3, 64, 4, 32, Operands::kBf16),
          cross_attention("sd15", 2, 4096, 77, 8, 40),
          cross_attention("sdxl", 2, 1024, 77, 20, 64),
          guided_step("sd15", 64),
          guided_step("scenes", 16),
          pixels(512)};
}

double distance_from_truth(const at::Tensor& value, const at::Tensor& truth) {
  const double worst = (value.to(at::kDouble) - truth).abs().max().item<double>();
  const double scale = std::max(truth.abs().max().item<double>(), std::numeric_limits<double>::min());
  return std::isfinite(worst) ? worst / scale : std::numeric_limits<double>::infinity();
}

}  // namespace i2i
