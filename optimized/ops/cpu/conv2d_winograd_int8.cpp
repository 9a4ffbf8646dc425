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
  // As many tiles at once as leave their planes in the third-level cache; heavy weights are read once for all tiles.
  const std::int64_t most = std::max<std::int64_t>((6 << 20) / (16 * in), panels * panel_bytes / (2 * in));
  const std::int64_t chunk = std::min(total, round_up(most, kTilesPerBlock));
  float* scales = thread_scratch(0, 16 * chunk + 4 * chunk * in);
  auto* planes = reinterpret_cast<std::uint8_t*>(scales + 16 * chunk);
  for (std::int64_t first = 0; first < total; first += chunk) {
    const std::int64_t count = std::min(chunk, total - first);
    constexpr std::int64_t kTilesPerTask = 8;
    for_each_task((count + kTilesPerTask - 1) / kTilesPerTask, static_cast<double>(count * in) * 4,
                  [&](std::int64_t task) {
                    Int8WinogradTiles some = tiles;
                    some.channels = in;
                    some.first_tile = first + task * kTilesPerTask;
                    some.tiles = std::min(kTilesPerTask, count - task * kTilesPerTask);
                    some.planes = planes + task * kTilesPerTask * in;
                    some.plane_stride = chunk * in;
                    some.scales = scales + task * kTilesPerTask;
                    some.scale_stride = chunk;
                    some.scratch = thread_scratch(3, 16 * in);
                    use.int8_winograd_input(some);
                  });
    const std::int64_t blocks = (count + kTilesPerBlock - 1) / kTilesPerBlock;
    for_each_task(blocks * panels, static_cast<double>(16 * count * in * panels * panel_width) / 250,
                  [&](std::int64_t task) {
                    const std::int64_t tile = task % blocks * kTilesPerBlock, panel = task / blocks;
                    const std::int64_t rows = std::min(kTilesPerBlock, count - tile);
                    float* sums = thread_scratch(2, 16 * kTilesPerBlock * panel_width);
                    for (std::int64_t p = 0; p < 16; ++p) {
                      if (vanishes(p)) continue;
                      Int8ProductBlock block;
                      block.a = planes + (p * chunk + tile) * in;
                      block.a_stride = in;
                      block.row_scale = scales + p * chunk + tile;
                      block.rows = rows;
                      block.groups = in / 4;
                      set_panel(block, weights + (p * panels + panel) * panel_bytes, panel_width);
                      block.c = sums + p * kTilesPerBlock * panel_width;
                      block.c_stride = panel_width;
                      use.int8_product(block);
                    }
                    Int8WinogradTiles some = tiles;
                    some.channels = columns;
                    some.first_tile = first + tile;
                    some.tiles = rows;
                    some.sums = sums;
                    some.sum_stride = kTilesPerBlock * panel_width;
                    some.panel_width = panel_width;
                    some.first_column = panel * panel_width;
                    some.columns = std::min(panel_width, columns - panel * panel_width);
                    use.int8_winograd_output(some);
                  });
  }
}

}  // namespace i2i::cpu
