// 3 x 3 convolution by F(2x2, 3x3) in bytes: transform and quantize tiles, 16 products of [tiles, I] with [I, O] (9 on
// an enlarged picture), transform back with bias and residual. Four byte products a pixel where F(4x4, 3x3) takes 2.25
// floats; a vector holds four times as many bytes.
#include <algorithm>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/winograd.h"

namespace i2i::cpu {

void conv2d_winograd_int8(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, bool upsample, const at::Tensor& out) {
  const std::int64_t images = out.size(0), height = out.size(2), width = out.size(3);
  const std::int64_t in = input.size(1), columns = out.size(1);
  const std::int64_t enlarged = upsample ? 2 : 1;
  TORCH_CHECK(input.size(0) == images && input.size(2) * enlarged == height && input.size(3) * enlarged == width &&
                  weight.scalar_type() == at::kChar && weight.dim() == 4 && weight.size(0) == 16 &&
                  weight.size(2) == int8_panel_rows(in / 4) && weight.size(1) * weight.size(3) >= columns &&
                  in % 16 == 0 && columns % 16 == 0,
              "conv2d_winograd_int8: ", input.sizes(), " by ", weight.sizes(), " to ", out.sizes(),
              upsample ? " after enlarging twofold" : "");
  const Kernels& use = kernels();
  const auto tiles = tiles_of_pictures<Int8WinogradTiles>("conv2d_winograd_int8", input, bias, residual, upsample, out);

  const std::int64_t total = images * ((height + 1) / 2) * ((width + 1) / 2);
  const std::int64_t panels = weight.size(1), panel_width = weight.size(3), panel_bytes = weight.size(2) * panel_width;
  const auto* weights = static_cast<const std::int8_t*>(weight.const_data_ptr());
  const auto vanishes = [&](std::int64_t p) { return upsample && int8_winograd_plane_vanishes(static_cast<int>(p)); };
  // A block's sums of all planes stay in the second-level cache between the products and the transform.
  constexpr std::int64_t kTilesPerBlock = 48;

  /// Where the planes of some tiles lie: plane p of tile t at bytes + (p * tiles + t) * in.
  struct Planes {
    std::int64_t first_tile, tiles;
    std::uint8_t* bytes;
    float* scales;
  };
  const auto planes_of = [&](std::int64_t first_tile, std::int64_t count, float* memory) {
    return Planes{first_tile, count, reinterpret_cast<std::uint8_t*>(memory + 16 * count), memory};
  };
  const auto floats_of = [&](std::int64_t count) { return 16 * count + 4 * count * in; };
  const auto transform = [&](const Planes& planes, std::int64_t from, std::int64_t count) {
    Int8WinogradTiles some = tiles;
    some.channels = in;
    some.first_tile = planes.first_tile + from;
    some.tiles = count;
    some.planes = planes.bytes + from * in;
    some.plane_stride = planes.tiles * in;
    some.scales = planes.scales + from;
    some.scale_stride = planes.tiles;
    some.scratch = thread_scratch(3, 17 * in);
    use.int8_winograd_input(some);
  };
  const auto multiply = [&](const Planes& planes, std::int64_t from, std::int64_t count, std::int64_t panel) {
    float* sums = thread_scratch(2, 16 * kTilesPerBlock * panel_width);
    for (std::int64_t p = 0; p < 16; ++p) {
      if (vanishes(p)) continue;
      Int8ProductBlock block;
      block.a = planes.bytes + (p * planes.tiles + from) * in;
      block.a_stride = in;
      block.row_scale = planes.scales + p * planes.tiles + from;
      block.rows = count;
      block.groups = in / 4;
      set_panel(block, weights + (p * panels + panel) * panel_bytes, panel_width);
      block.c = sums + p * kTilesPerBlock * panel_width;
      block.c_stride = panel_width;
      use.int8_product(block);
    }
    Int8WinogradTiles some = tiles;
    some.channels = columns;
    some.first_tile = planes.first_tile + from;
    some.tiles = count;
    some.sums = sums;
    some.sum_stride = kTilesPerBlock * panel_width;
    some.panel_width = panel_width;
    some.first_column = panel * panel_width;
    some.columns = std::min(panel_width, columns - panel * panel_width);
    use.int8_winograd_output(some);
  };

  // Light weights stay in the second-level cache, and a block's planes beside them: a block is one task.
  constexpr std::int64_t kWeightsThatStay = 640 << 10;
  const std::int64_t all_blocks = (total + kTilesPerBlock - 1) / kTilesPerBlock;
  if (16 * panels * panel_bytes <= kWeightsThatStay && all_blocks >= 4 * thread_count()) {
    for_each_task(all_blocks, static_cast<double>(16 * total * in * panels * panel_width) / 250,
                  [&](std::int64_t task) {
                    const std::int64_t first = task * kTilesPerBlock, count = std::min(kTilesPerBlock, total - first);
                    const Planes planes = planes_of(first, count, thread_scratch(1, floats_of(kTilesPerBlock)));
                    transform(planes, 0, count);
                    for (std::int64_t panel = 0; panel < panels; ++panel) multiply(planes, 0, count, panel);
                  });
    return;
  }

  // As many tiles at once as leave their planes in the third-level cache; heavy weights are read once for all tiles.
  const std::int64_t most = std::max<std::int64_t>((6 << 20) / (16 * in), panels * panel_bytes / (2 * in));
  const std::int64_t chunk = std::min(total, round_up(most, kTilesPerBlock));
  float* memory = thread_scratch(0, floats_of(chunk));
  for (std::int64_t first = 0; first < total; first += chunk) {
    const Planes planes = planes_of(first, std::min(chunk, total - first), memory);
    constexpr std::int64_t kTilesPerTask = 8;
    for_each_task((planes.tiles + kTilesPerTask - 1) / kTilesPerTask, static_cast<double>(planes.tiles * in) * 4,
                  [&](std::int64_t task) {
                    const std::int64_t from = task * kTilesPerTask;
                    transform(planes, from, std::min(kTilesPerTask, planes.tiles - from));
                  });
    const std::int64_t blocks = (planes.tiles + kTilesPerBlock - 1) / kTilesPerBlock;
    for_each_task(blocks * panels, static_cast<double>(16 * planes.tiles * in * panels * panel_width) / 250,
                  [&](std::int64_t task) {
                    const std::int64_t from = task % blocks * kTilesPerBlock;
                    multiply(planes, from, std::min(kTilesPerBlock, planes.tiles - from), task / blocks);
                  });
  }
}

}  // namespace i2i::cpu
