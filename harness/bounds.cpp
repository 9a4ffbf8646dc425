#include "harness/bounds.h"

#include <fmt/format.h>

#include <algorithm>

#include "interface/error.h"

namespace i2i {
namespace {

constexpr double kElement = 2;            // bytes of an activation or a weight
constexpr double kSample = 4;             // latents stay in fp32
constexpr std::int64_t kTextTokens = 77;  // one prompt's

bool attends(const std::string& block_type) { return block_type.rfind("CrossAttn", 0) == 0; }

/// Walks over a model as its forward pass would, and notes each call.
class Counter {
 public:
  Counter(std::string part, std::int64_t images, bool plain) : part_(std::move(part)), images_(images), plain_(plain) {}

  std::vector<BoundRow> take() { return std::move(rows_); }

  struct Size {
    std::int64_t height, width;
    std::int64_t pixels() const { return height * width; }
  };

  void conv(std::int64_t in, std::int64_t out, Size from, Size to, std::int64_t kernel, bool residual = false) {
    const double inputs = number(images_ * from.pixels() * in), outputs = number(images_ * to.pixels() * out);
    const double weights = number(kernel * kernel * in * out);
    note("conv2d (cuDNN)",
         fmt::format("{}x{} {} to {}, {}x{} to {}x{}", kernel, kernel, in, out, from.height, from.width, to.height,
                     to.width),
         kElement * (inputs + weights + outputs * (residual ? 2 : 1)), 2 * number(images_ * to.pixels()) * weights);
  }

  /// Nearest-neighbour doubling and a 3 x 3 convolution; folded, every output has four taps of a 2 x 2 kernel of its
  /// own.
  void upsample(std::int64_t channels, Size from, Size to) {
    if (plain_) {
      const double small = number(images_ * from.pixels() * channels), large = number(images_ * to.pixels() * channels);
      note("upsample", fmt::format("{} channels to {}x{}", channels, to.height, to.width), kElement * (small + large),
           0);
      conv(channels, channels, to, to, 3);
      return;
    }
    const double inputs = number(images_ * from.pixels() * channels), weights = number(16 * channels * channels);
    const double outputs = number(images_ * to.pixels() * channels);
    note("conv2d (cuDNN), folded_upsample", fmt::format("4 of 2x2 {}, to {}x{}", channels, to.height, to.width),
         kElement * (inputs + weights + outputs), 2 * outputs * 4 * number(channels));
  }

  void linear(const char* kernel, std::int64_t rows, std::int64_t in, std::int64_t out, std::int64_t written,
              bool residual) {
    const double weights = number(in * out);
    note(kernel, fmt::format("[{}, {}] to {}", rows, in, out),
         kElement * (number(rows * in) + weights + number(rows * written) * (residual ? 2 : 1)),
         2 * number(rows) * weights);
  }
  void product(std::int64_t rows, std::int64_t in, std::int64_t out, bool residual = false) {
    linear("linear (cuBLASLt)", rows, in, out, out, residual);
  }

  void group_norm(std::int64_t channels, Size size) {
    rows_moved("group_norm_silu", images_ * size.pixels(), channels, 2);
  }
  void concat(std::int64_t a, std::int64_t b, Size size) {
    rows_moved("concat_channels", images_ * size.pixels(), a + b, 2);
  }

  void resnet(std::int64_t in, std::int64_t out, Size size) {
    group_norm(in, size);
    conv(in, out, size, size, 3);
    group_norm(out, size);
    if (in != out) conv(in, out, size, size, 1);
    conv(out, out, size, size, 3, true);
  }

  void attention(const char* kernel, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                 std::int64_t channels) {
    note(kernel, fmt::format("{} heads of {}, {} queries, {} keys", heads, channels / heads, queries, keys),
         kElement * number(images_ * (2 * queries + 2 * keys) * channels),
         4 * number(images_ * queries) * number(keys * channels));
  }

  void transformer(std::int64_t channels, std::int64_t heads, std::int64_t layers, std::int64_t text_channels,
                   Size size) {
    const std::int64_t tokens = size.pixels(), rows = images_ * tokens;
    group_norm(channels, size);
    product(rows, channels, channels);
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      rows_moved("layer_norm", rows, channels, 2);
      product(rows, channels, 3 * channels);
      attention("attention", tokens, tokens, heads, channels);
      product(rows, channels, channels, true);
      rows_moved("layer_norm", rows, channels, 2);
      product(rows, channels, channels);
      if (plain_) product(images_ * kTextTokens, text_channels, 2 * channels);
      attention("cross_attention", tokens, kTextTokens, heads, channels);
      product(rows, channels, channels, true);
      rows_moved("layer_norm", rows, channels, 2);
      linear("geglu", rows, channels, 8 * channels, 4 * channels, false);
      product(rows, 4 * channels, channels, true);
    }
    product(rows, channels, channels, true);
  }

  void note(const std::string& kernel, const std::string& shape, double bytes, double flops) {
    const auto same = std::find_if(rows_.begin(), rows_.end(), [&](const BoundRow& row) {
      return row.kernel == kernel && row.shape == shape && row.bytes == bytes;
    });
    if (same != rows_.end()) {
      ++same->calls;
    } else {
      rows_.push_back({part_, kernel, shape, 1, bytes, flops});
    }
  }

  static double number(std::int64_t count) { return static_cast<double>(count); }

 private:
  void rows_moved(const char* kernel, std::int64_t rows, std::int64_t channels, int times) {
    note(kernel, fmt::format("[{}, {}]", rows, channels), times * kElement * number(rows * channels), 0);
  }

  std::string part_;
  std::int64_t images_;
  bool plain_;
  std::vector<BoundRow> rows_;
};

Counter::Size halved(Counter::Size size) { return {(size.height + 1) / 2, (size.width + 1) / 2}; }

std::vector<BoundRow> unet_rows(const ModelConfig& config, Counter::Size size, std::int64_t images, bool plain) {
  const UNetConfig& unet = config.unet;
  const std::int64_t rows = guidance_rows(config), batch = rows * images;
  const double latents = Counter::number(images * size.pixels() * unet.out_channels);
  Counter count("UNet step", batch, plain);
  count.note("unet_input", fmt::format("{} rows, {} channels", batch, unet.in_channels),
             kSample * latents * static_cast<double>(unet.in_channels) / static_cast<double>(unet.out_channels) +
                 kElement * Counter::number(batch * size.pixels() * unet.in_channels),
             0);
  const std::size_t levels = unet.block_out_channels.size();
  std::int64_t channels = unet.block_out_channels[0];
  count.conv(unet.in_channels, channels, size, size, 3);
  struct Skip {
    std::int64_t channels;
    Counter::Size size;
  };
  std::vector<Skip> skips = {{channels, size}};
  const auto transformer = [&](std::size_t level) {
    count.transformer(unet.block_out_channels[level], unet.num_attention_heads[level],
                      unet.transformer_layers_per_block[level], unet.cross_attention_dim, size);
  };
  for (std::size_t level = 0; level < levels; ++level) {
    for (std::int64_t i = 0; i < unet.layers_per_block[level]; ++i) {
      count.resnet(channels, unet.block_out_channels[level], size);
      channels = unet.block_out_channels[level];
      if (attends(unet.down_block_types[level])) transformer(level);
      skips.push_back({channels, size});
    }
    if (level + 1 == levels) break;
    count.conv(channels, channels, size, halved(size), 3);
    size = halved(size);
    skips.push_back({channels, size});
  }
  count.resnet(channels, channels, size);
  transformer(levels - 1);
  count.resnet(channels, channels, size);
  for (std::size_t i = 0; i < levels; ++i) {
    const std::size_t level = levels - 1 - i;
    for (std::int64_t k = 0; k <= unet.layers_per_block[level]; ++k) {
      count.concat(channels, skips.back().channels, size);
      count.resnet(channels + skips.back().channels, unet.block_out_channels[level], size);
      skips.pop_back();
      channels = unet.block_out_channels[level];
      if (attends(unet.up_block_types[i])) transformer(level);
    }
    if (level == 0) break;
    count.upsample(channels, size, skips.back().size);
    size = skips.back().size;
  }
  count.group_norm(channels, size);
  count.conv(channels, unet.out_channels, size, size, 3);
  // noise_pred of every row; sample, noise and one history; prev_sample and what is remembered.
  count.note("guided_step", fmt::format("{} rows", batch),
             kElement * static_cast<double>(rows) * latents + kSample * 5 * latents, 0);
  return count.take();
}

void vae_middle(Counter& count, const VaeConfig& vae, Counter::Size size) {
  const std::int64_t channels = vae.block_out_channels.back(), rows = size.pixels();
  count.resnet(channels, channels, size);
  if (vae.mid_block_add_attention) {
    count.group_norm(channels, size);
    count.product(rows, channels, 3 * channels);
    count.attention("vae_attention", rows, rows, 1, channels);
    count.product(rows, channels, channels, true);
  }
  count.resnet(channels, channels, size);
}

/// Images are decoded one after another: their memory, not their arithmetic, is what counts.
std::vector<BoundRow> decode_rows(const VaeConfig& vae, Counter::Size size, bool plain) {
  Counter count("VAE decode", 1, plain);
  std::int64_t channels = vae.block_out_channels.back();
  if (vae.use_post_quant_conv) count.conv(vae.latent_channels, vae.latent_channels, size, size, 1);
  count.conv(vae.latent_channels, channels, size, size, 3);
  vae_middle(count, vae, size);
  for (std::size_t level = vae.block_out_channels.size(); level-- > 0;) {
    for (std::int64_t i = 0; i <= vae.layers_per_block; ++i) {
      count.resnet(channels, vae.block_out_channels[level], size);
      channels = vae.block_out_channels[level];
    }
    if (level == 0) break;
    const Counter::Size large{2 * size.height, 2 * size.width};
    count.upsample(channels, size, large);
    size = large;
  }
  count.group_norm(channels, size);
  count.conv(channels, vae.out_channels, size, size, 3);
  count.note("pixels", "samples to bytes", (kElement + 1) * Counter::number(size.pixels() * vae.out_channels), 0);
  return count.take();
}

std::vector<BoundRow> encode_rows(const VaeConfig& vae, Counter::Size size, bool plain) {
  Counter count("VAE encode", 1, plain);
  std::int64_t channels = vae.block_out_channels.front();
  count.note("pixels", "bytes to samples", (kElement + 1) * Counter::number(size.pixels() * vae.in_channels), 0);
  count.conv(vae.in_channels, channels, size, size, 3);
  for (std::size_t level = 0; level < vae.block_out_channels.size(); ++level) {
    for (std::int64_t i = 0; i < vae.layers_per_block; ++i) {
      count.resnet(channels, vae.block_out_channels[level], size);
      channels = vae.block_out_channels[level];
    }
    if (level + 1 == vae.block_out_channels.size()) break;
    count.conv(channels, channels, size, halved(size), 3);
    size = halved(size);
  }
  vae_middle(count, vae, size);
  count.group_norm(channels, size);
  count.conv(channels, 2 * vae.latent_channels, size, size, 3);
  if (vae.use_quant_conv) count.conv(2 * vae.latent_channels, 2 * vae.latent_channels, size, size, 1);
  return count.take();
}

/// Figures of public tables, as one step: sums of a whole picture are divided by its steps.
const std::vector<PublishedRow>& published_rows() {
  static const std::vector<PublishedRow> all = {
      {"synthetic:sdxl", "H100", "TensorRT, fp16, 30 steps in 1471 ms, encoders and decoder included", 1471.0 / 30,
       "stabilityai/stable-diffusion-xl-1.0-tensorrt, README"},
      {"synthetic:sdxl", "H100", "stable-fast, 21.6 it/s", 1000 / 21.6, "chengzeyi/stable-fast, README"},
      {"synthetic:sdxl", "A100", "OneDiff on an A800, 20 steps in 1.62 s", 1620.0 / 20, "siliconflow/onediff, README"},
      {"synthetic:sdxl", "A100", "TensorRT 9, 50 steps in 4.10 s", 4100.0 / 50,
       "fal-ai/stable-diffusion-benchmarks, README"},
      {"synthetic:sd15", "H100", "stable-fast, 104.6 it/s", 1000 / 104.6, "chengzeyi/stable-fast, README"},
      {"synthetic:sd15", "A100", "OneDiff on an A800, 20 steps in 0.30 s", 300.0 / 20, "siliconflow/onediff, README"},
      {"synthetic:sd15", "A100", "TensorRT 9, 50 steps in 0.819 s", 819.0 / 50,
       "fal-ai/stable-diffusion-benchmarks, README"},
  };
  return all;
}

Counter::Size pixels_of(const ModelConfig& config, const BoundOptions& options) {
  const std::int64_t native = config.unet.sample_size * config.vae_factor();
  const Counter::Size size{options.height > 0 ? options.height : native, options.width > 0 ? options.width : native};
  for (const std::int64_t side : {size.height, size.width}) {
    if (side % config.vae_factor() != 0)
      throw Error(ErrorCode::kUsage, fmt::format("a side of {} pixels is no multiple of {}, the model's factor", side,
                                                 config.vae_factor()));
  }
  return size;
}

}  // namespace

const std::vector<GpuRow>& known_gpus() {
  static const std::vector<GpuRow> all = {
      {"A100", 312e12, 2039e9, "NVIDIA A100 80GB SXM datasheet: bf16 tensor core without sparsity; HBM2e"},
      {"H100", 989e12, 3350e9, "NVIDIA H100 SXM datasheet: 1979 TFLOP/s bf16 with sparsity, half without; HBM3"},
      {"L4", 121e12, 300e9, "NVIDIA L4 datasheet: 242 TFLOP/s bf16 with sparsity, half without; GDDR6"},
      {"RTX 4090", 165e12, 1008e9,
       "NVIDIA Ada GPU architecture whitepaper: fp16 tensor core with fp32 sums, without sparsity; GDDR6X"},
  };
  return all;
}

std::int64_t guidance_rows(const ModelConfig& config) { return config.takes_source_as_condition() ? 3 : 2; }

std::vector<BoundRow> bound_rows(const ModelConfig& config, const BoundOptions& options) {
  const Counter::Size pixels = pixels_of(config, options);
  const Counter::Size latents{pixels.height / config.vae_factor(), pixels.width / config.vae_factor()};
  std::vector<BoundRow> rows = unet_rows(config, latents, options.images, options.plain);
  for (const auto& part :
       {decode_rows(config.vae, latents, options.plain), encode_rows(config.vae, pixels, options.plain)})
    rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

BoundsReport bounds_report(const ModelConfig& config, const BoundOptions& options) {
  const Counter::Size pixels = pixels_of(config, options);
  BoundsReport report;
  report.title = fmt::format("{} at {} x {}, {} rows of guidance", config.name, pixels.width, pixels.height,
                             guidance_rows(config) * options.images);
  report.command = fmt::format("i2i bounds --model {} --width {} --height {} --images {}{}", config.name, pixels.width,
                               pixels.height, options.images, options.plain ? " --plain" : "");
  report.gpus = known_gpus();
  report.rows = bound_rows(config, options);
  report.assumptions = {
      // NOLINTBEGIN(bugprone-suspicious-missing-comma): sentences that are longer than a line
      "Every call takes the longer of flops / peak and bytes / bandwidth, and nothing overlaps: no operator can be "
      "faster, and a pipeline of these operators cannot be, unless it fuses more of them.",
      "16-bit activations and weights, each operand moved once; latents and scheduler in fp32. What a second-level "
      "cache keeps between operators would lower the bytes.",
      "Convolutions carry bias, time embedding and residual, products bias and residual; GEGLU and attention are one "
      "kernel each.",
      options.plain
          ? "As diffusers runs it: keys and values of the text in every step, pictures enlarged before their "
            "convolution."
          : "As our pipeline runs it: keys and values of the text once a request, enlargement folded into the "
            "weights, time embeddings before the loop.",
      // NOLINTEND(bugprone-suspicious-missing-comma)
      "Nothing on this page was measured by us."};
  const std::int64_t native = config.unet.sample_size * config.vae_factor();
  if (pixels.height == native && pixels.width == native && options.images == 1) {
    for (const PublishedRow& row : published_rows()) {
      if (row.model == config.name) report.published.push_back(row);
    }
  }
  return report;
}

}  // namespace i2i
