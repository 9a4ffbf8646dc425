// A band of the picture's rows is rounded with what its windows read around it, and stays in the second-level cache;
// the tiles that the processor multiplies are pixels side by side in it, once for each tap, so that nothing is
// gathered.
#include "optimized/ops/cpu/conv2d_bf16.h"

#include <cstring>

namespace i2i::cpu {
namespace {

/// How the work is shared out: bands of rows times groups of panels.
struct BandPlan {
  std::int64_t rows, bands, panels_per_group, groups;

  BandPlan(const Bf16Picture& picture, std::int64_t padded_width, std::int64_t panels) {
    constexpr std::int64_t kBandBytes = 704 << 10, kFewPixels = 128;
    const std::int64_t row_bytes = 2 * padded_width * picture.channels, threads = thread_count();
    rows = std::max<std::int64_t>(1, (kBandBytes / row_bytes - picture.kernel) / picture.stride + 1);
    bands = (picture.height + rows - 1) / rows;
    // As many tasks for each thread, if that leaves pixels enough to meet the weights.
    while (picture.images * bands < 4 * threads && picture.images * bands % threads != 0 &&
           picture.height / (bands + 1) * picture.width >= kFewPixels) {
      ++bands;
    }
    rows = (picture.height + bands - 1) / bands;
    bands = (picture.height + rows - 1) / rows;
    groups = picture.images * bands >= threads ? 1 : std::min(panels, threads);
    panels_per_group = (panels + groups - 1) / groups;
    groups = (panels + panels_per_group - 1) / panels_per_group;
  }
};

/// Rows [first, first + count) of one image after padding and enlarging, rounded.
void round_rows(const Bf16Picture& picture, const Kernels& use, std::int64_t image, std::int64_t first,
                std::int64_t count, std::int64_t padded_width, std::uint16_t* out) {
  const std::int64_t channels = picture.channels, enlarged = picture.upsample ? 2 : 1;
  const std::int64_t before = picture.pad_before, inside = picture.in_width * enlarged;
  for (std::int64_t row = 0; row < count; ++row, out += padded_width * channels) {
    const std::int64_t y = first + row - before;
    if (y < 0 || y >= picture.in_height * enlarged) {
      std::memset(out, 0, static_cast<std::size_t>(2 * padded_width * channels));
      continue;
    }
    const float* x = picture.x + (image * picture.in_height + y / enlarged) * picture.in_width * channels;
    std::memset(out, 0, static_cast<std::size_t>(2 * before * channels));
    for (std::int64_t copy = 0; copy < enlarged; ++copy) {
      use.bf16_rows({x, channels, picture.in_width, channels, out + (before + copy) * channels, enlarged * channels});
    }
    const std::int64_t after = padded_width - before - inside;  // fits() says none is negative
    std::memset(out + (padded_width - after) * channels, 0, static_cast<std::size_t>(2 * after * channels));
  }
}

}  // namespace

bool Bf16Picture::fits() const {
  const std::int64_t enlarged = upsample ? 2 : 1;
  return channels % kBf16StepDepth == 0 && width % kTilePixels == 0 && (!upsample || stride == 1) &&
         (width - 1) * stride + kernel >= pad_before + in_width * enlarged;
}

void convolve_bf16(const Product& product, const Bf16Picture& picture) {
  const Kernels& use = kernels();
  const at::Tensor& packed = *product.packed;
  const std::int64_t channels = picture.channels, kernel = picture.kernel, taps = kernel * kernel;
  const std::int64_t panels = packed.size(0), panel_width = packed.size(2), panel_words = packed.size(1) * panel_width;
  TORCH_CHECK(packed.size(1) == taps * channels && panels == (product.columns + panel_width - 1) / panel_width,
              "bfloat16 weight ", packed.sizes(), " does not fit ", taps, " taps of ", channels, " channels and ",
              product.columns, " columns");
  const auto* weights = static_cast<const std::uint16_t*>(packed.const_data_ptr());

  const std::int64_t padded_width = (picture.width - 1) * picture.stride + kernel;
  const BandPlan plan(picture, padded_width, panels);
  // Of many channels a third of the weights at a time, which stay in the cache while the band's pixels pass by.
  constexpr std::int64_t kPanelBytes = 768 << 10;
  const bool in_slices = 2 * panel_words > kPanelBytes;
  const std::int64_t slice_taps = in_slices ? kernel : taps, slice_bytes = 2 * slice_taps * channels * panel_width;
  std::vector<std::int64_t> offsets;  // in bytes
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    offsets.push_back(2 * (tap / kernel * padded_width + tap % kernel) * channels);
  }
  const double operations = 2.0 * static_cast<double>(product.rows * taps * channels * panels * panel_width);
  for_each_task(picture.images * plan.bands * plan.groups, operations / 500, [&](std::int64_t task) {
    const std::int64_t image = task % picture.images, band = task / picture.images % plan.bands;
    const std::int64_t first_row = band * plan.rows, rows = std::min(plan.rows, picture.height - first_row);
    const std::int64_t band_rows = (rows - 1) * picture.stride + kernel, pixels = rows * picture.width;
    auto* rounded = reinterpret_cast<std::uint16_t*>(thread_scratch(3, band_rows * padded_width * channels / 2));
    round_rows(picture, use, image, first_row * picture.stride, band_rows, padded_width, rounded);
    thread_local std::vector<const std::uint8_t*> tiles;
    tiles.clear();
    for (std::int64_t pixel = 0; pixel < pixels; pixel += kTilePixels) {
      const std::int64_t y = pixel / picture.width, x = pixel % picture.width;
      tiles.push_back(reinterpret_cast<const std::uint8_t*>(rounded) +
                      2 * (y * padded_width + x) * picture.stride * channels);
    }
    float* sums = thread_scratch(2, pixels * panel_width);
    const std::int64_t first_panel = task / picture.images / plan.bands * plan.panels_per_group;
    const std::int64_t end_panel = std::min(panels, first_panel + plan.panels_per_group);
    // A few at a time, whose sums the finishing pass still finds in the first-level cache.
    const std::int64_t at_once = in_slices ? pixels : kBlockRows;
    for (std::int64_t panel = first_panel; panel < end_panel; ++panel) {
      for (std::int64_t pixel = 0; pixel < pixels; pixel += at_once) {
        Bf16TapsBlock block;
        block.tiles = tiles.data() + pixel / kTilePixels;
        block.a_stride = 2 * picture.stride * channels;
        block.rows = std::min(at_once, pixels - pixel);
        block.groups = channels / 2;
        block.panel_width = panel_width;
        block.c = sums;
        block.c_stride = panel_width;
        block.tap_count = slice_taps;
        const std::int8_t* slice = reinterpret_cast<const std::int8_t*>(weights + panel * panel_words);
        for (std::int64_t tap = 0; tap < taps; tap += slice_taps, slice += slice_bytes) {
          block.taps = offsets.data() + tap;
          block.panel = slice;
          block.accumulate = tap > 0;
          if (tap + slice_taps < taps || panel + 1 < end_panel) {
            block.next_bytes = slice_bytes * block.rows / pixels;
            block.next = slice + slice_bytes + slice_bytes * pixel / pixels;
          }
          use.bf16_taps(block);
        }
        const std::int64_t row = (image * picture.height + first_row) * picture.width + pixel;
        finish_block(product, use, sums, panel, row, block.rows);
      }
    }
  });
}

}  // namespace i2i::cpu
