// 3 x 3 convolution by F(4x4, 3x3): transform tiles, 36 products of [tiles, I] with [I, O], transform back with bias
// and residual. A quarter of the multiplications, for four times the weight memory. Error: a few 1e-6 relative, from
// the transforms' weights.
#include <ATen/ops/zeros.h>

#include "optimized/ops/cpu/product.h"
#include "optimized/ops/cpu/register.h"

namespace i2i::cpu {

at::Tensor pack_winograd(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 && weight.size(0) % 16 == 0 &&
                  weight.size(1) % 16 == 0,
              "pack_winograd: O x I x 3 x 3 in multiples of 16 wanted, got ", weight.sizes());
  // G of Lavin & Gray 2016 for the points 0, +-1, +-2, infinity.
  constexpr double kG[6][3] = {{1. / 4, 0, 0},
                               {-1. / 6, -1. / 6, -1. / 6},
                               {-1. / 6, 1. / 6, -1. / 6},
                               {1. / 24, 1. / 12, 1. / 6},
                               {1. / 24, -1. / 12, 1. / 6},
                               {0, 0, 1}};
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor plain = weight.to(at::kFloat).contiguous();
  const auto* source = static_cast<const float*>(plain.const_data_ptr());
  const std::int64_t width = panel_width_for(out), panels = (out + width - 1) / width;
  at::Tensor packed = at::zeros({36, panels, in, width}, at::kFloat);
  auto* target = static_cast<float*>(packed.data_ptr());
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t i = 0; i < in; ++i) {
      const float* g = source + (o * in + i) * 9;
      for (int a = 0; a < 6; ++a) {
        double row[3];
        for (int x = 0; x < 3; ++x) {
          row[x] = 0;
          for (int y = 0; y < 3; ++y) row[x] += kG[a][y] * static_cast<double>(g[y * 3 + x]);
        }
        for (int b = 0; b < 6; ++b) {
          const double value = row[0] * kG[b][0] + row[1] * kG[b][1] + row[2] * kG[b][2];
          target[(((a * 6 + b) * panels + o / width) * in + i) * width + o % width] = static_cast<float>(value);
        }
      }
    }
  }
  return packed;
}

void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, const at::Tensor& out) {
  const Rows x = rows_of(input, "conv2d_winograd input"), y = rows_of(out, "conv2d_winograd out");
  const std::int64_t images = out.size(0), height = out.size(2), width = out.size(3), in = x.width, columns = y.width;
  TORCH_CHECK(input.size(0) == images && input.size(2) == height && input.size(3) == width && weight.size(2) == in &&
                  weight.size(1) * weight.size(3) >= columns,
              "conv2d_winograd: ", input.sizes(), " by ", weight.sizes(), " to ", out.sizes());
  const Kernels& use = kernels();
  WinogradTiles tiles;
  tiles.batch = images;
  tiles.height = height;
  tiles.width = width;
  tiles.in = x.data;
  tiles.out = y.data;
  if (bias.has_value()) {
    const std::int64_t sets = bias->numel() / columns;
    tiles.bias = optional_floats(bias, sets * columns, "conv2d_winograd bias");
    TORCH_CHECK(sets >= 1 && images % sets == 0, "conv2d_winograd: ", sets, " rows of bias for ", images, " images");
    tiles.bias_stride = columns;
    tiles.images_per_bias = images / sets;
  }
  if (residual.has_value()) tiles.residual = rows_of(*residual, "conv2d_winograd residual").data;

  const std::int64_t total = images * ((height + 3) / 4) * ((width + 3) / 4);
  const std::int64_t panels = weight.size(1), panel_width = weight.size(3), padded = panels * panel_width;
  // As many tiles at once as keep both sets of planes near the cache: the weights are read once for each such chunk.
  const std::int64_t most = std::max<std::int64_t>(kBlockRows, round_up((4 << 20) / (36 * (in + padded)), kBlockRows));
  const std::int64_t chunk = std::min(total, most);
  float* in_planes = thread_scratch(0, 36 * chunk * in);
  float* out_planes = thread_scratch(1, 36 * chunk * padded);
  const auto* packed = static_cast<const float*>(weight.const_data_ptr());
  for (std::int64_t first = 0; first < total; first += chunk) {
    const std::int64_t count = std::min(chunk, total - first);
    constexpr std::int64_t kTilesPerTask = 8;
    const std::int64_t transform_tasks = (count + kTilesPerTask - 1) / kTilesPerTask;
    const auto part = [&](std::int64_t task, std::int64_t channels, float* planes) {
      WinogradTiles some = tiles;
      some.channels = channels;
      some.first_tile = first + task * kTilesPerTask;
      some.tiles = std::min(kTilesPerTask, count - task * kTilesPerTask);
      some.plane_stride = chunk * channels;
      some.tile_stride = channels;
      some.planes = planes + task * kTilesPerTask * channels;
      return some;
    };
    for_each_task(transform_tasks, static_cast<double>(count * in) * 6,
                  [&](std::int64_t task) { use.winograd_input(part(task, in, in_planes)); });
    const std::int64_t blocks = (count + kBlockRows - 1) / kBlockRows;
    for_each_task(36 * panels, static_cast<double>(36 * count * in * padded) / 75, [&](std::int64_t task) {
      const std::int64_t plane = task / panels, panel = task % panels;
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t row = block * kBlockRows, rows = std::min(kBlockRows, count - row);
        const float* pointers[kBlockRows];
        for (std::int64_t i = 0; i < rows; ++i) pointers[i] = in_planes + (plane * chunk + row + i) * in;
        use.product({pointers, rows, 1, in, packed + (plane * panels + panel) * in * panel_width, panel_width,
                     out_planes + (plane * chunk + row) * padded + panel * panel_width, padded});
      }
    });
    for_each_task(transform_tasks, static_cast<double>(count * columns) * 6, [&](std::int64_t task) {
      WinogradTiles some = part(task, padded, out_planes);
      some.channels = columns;
      use.winograd_output(some);
    });
  }
}

}  // namespace i2i::cpu
