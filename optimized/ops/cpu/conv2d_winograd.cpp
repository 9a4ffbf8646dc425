// 3 x 3 convolution by F(4x4, 3x3) or F(6x6, 3x3): transform tiles, 36 or 64 products of [tiles, I] with [I, O] (25 or
// 49 on an enlarged picture), transform back with bias and residual. A quarter of the multiplications, or a fifth.
// Weights stay as pack_weight left them and are transformed in passing, in pieces that the cache holds: kept
// transformed they would be four or seven times as large, and reading them from memory would take longer than making
// them. Error: a few 1e-6 relative, from the transforms' factors.
#include "optimized/ops/cpu/product.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/winograd.h"

namespace i2i::cpu {

namespace {

/// Floats from one plane to the next. A tile's (or a weight's) planes are read and written together: at a distance of a
/// power of two all of them would fall into one set of the first-level cache.
std::int64_t spread(std::int64_t floats) { return round_up(floats, 1024) + 16; }

/// Which plane the i-th of the transformed weights belongs to, where pairs of rows follow each other.
std::int64_t plane_of(int outputs, std::int64_t i) {
  const std::int64_t side = outputs + 2;
  return winograd_row(outputs, static_cast<int>(i / (2 * side)), static_cast<int>(i / side % 2)) * side + i % side;
}

bool vanishes(int outputs, std::int64_t plane) {
  return plane / (outputs + 2) == kWinogradVanishing || plane % (outputs + 2) == kWinogradVanishing;
}

/// Pairs of rows of planes times one panel of the weights.
struct PlaneProducts {
  const at::Tensor& weight;
  int outputs;
  std::int64_t panel, first_pair, pairs;
  bool upsample;
  std::int64_t depth, tiles;
  const float* in_planes = nullptr;  ///< all planes, [tiles, depth] each, in_stride apart
  std::int64_t in_stride = 0;
  float* out_planes = nullptr;  ///< all planes, [tiles, panel_width] each, planes out_stride and tiles out_width apart
  std::int64_t out_stride = 0, out_width = 0;
};

/// One slice of the depth: the weights of two rows of planes, transformed, times all tiles.
void multiply_pair(const Kernels& use, const PlaneProducts& of, const WinogradWeights& weights) {
  const int planes = 2 * (of.outputs + 2);
  thread_local std::vector<const float*> pointers;
  pointers.resize(static_cast<std::size_t>(of.tiles));
  const auto plane_here = [&](int i) { return plane_of(of.outputs, weights.pair * planes + i); };
  for (int i = 0; i < planes; ++i) {
    const std::int64_t plane = plane_here(i);
    if (of.upsample && vanishes(of.outputs, plane)) continue;
    const float* in = of.in_planes + weights.first;
    for (std::int64_t t = 0; t < of.tiles; ++t) {
      pointers[static_cast<std::size_t>(t)] = in + plane * of.in_stride + t * of.depth;
    }
    ProductBlock product{pointers.data(),    of.tiles, 1, weights.count, weights.planes + i * weights.plane_stride,
                         weights.panel_width};
    product.c = of.out_planes + plane * of.out_stride;
    product.c_stride = of.out_width;
    product.accumulate = weights.first > 0;
    if (i + 1 < planes) product.next = in + plane_here(i + 1) * of.in_stride;
    use.product(product);
  }
}

/// Sums of so many floats stay in the second-level cache while slices of the depth come and go.
constexpr std::int64_t kMostSums = 64 << 10;

void run(const Kernels& use, const PlaneProducts& of) {
  const std::int64_t width = of.weight.size(2), planes = 2 * (of.outputs + 2);
  WinogradWeights weights;
  weights.outputs = of.outputs;
  weights.panel = static_cast<const float*>(of.weight.const_data_ptr()) + of.panel * 9 * of.depth * width;
  weights.depth = of.depth;
  weights.panel_width = width;
  // Few tiles: a slice of the weights and all sums stay in the second-level cache, and where a task has all rows, each
  // weight comes from memory once. Many: sums would have to come and go with every slice, so the whole depth is
  // transformed at once and each plane then serves all tiles.
  const bool sums_fit = of.pairs * planes * of.tiles * width <= kMostSums;
  const std::int64_t slice = sums_fit ? std::min(of.depth, round_up((32 << 10) / (planes / 2 * width), 16)) : of.depth;
  weights.plane_stride = spread(slice * width);
  weights.planes = thread_scratch(2, planes * weights.plane_stride);
  for (weights.first = 0; weights.first < of.depth; weights.first += slice) {
    weights.count = std::min(slice, of.depth - weights.first);
    for (std::int64_t pair = of.first_pair; pair < of.first_pair + of.pairs; ++pair) {
      weights.pair = static_cast<int>(pair);
      use.winograd_weights(weights);
      multiply_pair(use, of, weights);
    }
  }
}

/// Transformed weights of at most so many floats stay in the third-level cache beside everything else.
constexpr std::int64_t kMostResident = 3 << 20;
constexpr std::int64_t kTilesOfBlock = 24;

/// Few weights and many tiles: all weights are transformed once, and then every thread takes blocks of tiles from
/// pixels to pixels, whose planes hardly leave its own second-level cache.
void convolve_in_blocks(const Kernels& use, const WinogradTiles& tiles, const at::Tensor& weight, std::int64_t in,
                        std::int64_t columns, std::int64_t total) {
  const std::int64_t side = tiles.outputs + 2, planes = side * side;
  const std::int64_t panels = weight.size(0), width = weight.size(2), padded = panels * width;
  const std::int64_t weight_stride = spread(in * width);
  float* transformed = thread_scratch(3, panels * planes * weight_stride);
  const std::int64_t pairs = side / 2;
  for_each_task(panels * pairs, static_cast<double>(planes * in * padded), [&](std::int64_t task) {
    WinogradWeights weights;
    weights.outputs = tiles.outputs;
    weights.panel = static_cast<const float*>(weight.const_data_ptr()) + task / pairs * 9 * in * width;
    weights.depth = weights.count = in;
    weights.panel_width = width;
    weights.pair = static_cast<int>(task % pairs);
    weights.planes = transformed + task * 2 * side * weight_stride;
    weights.plane_stride = weight_stride;
    use.winograd_weights(weights);
  });
  const std::int64_t in_stride = spread(kTilesOfBlock * in), out_stride = spread(kTilesOfBlock * padded);
  const double cost_ns = static_cast<double>(planes * total * in * padded) / 75;
  for_each_task((total + kTilesOfBlock - 1) / kTilesOfBlock, cost_ns, [&](std::int64_t task) {
    WinogradTiles some = tiles;
    some.first_tile = task * kTilesOfBlock;
    some.tiles = std::min(kTilesOfBlock, total - some.first_tile);
    some.channels = some.tile_stride = in;
    some.plane_stride = in_stride;
    some.planes = thread_scratch(0, planes * in_stride);
    use.winograd_input(some);
    float* out_planes = thread_scratch(1, planes * out_stride);
    for (std::int64_t i = 0; i < planes; ++i) {
      const std::int64_t plane = plane_of(tiles.outputs, i);
      if (tiles.upsample && vanishes(tiles.outputs, plane)) continue;
      const float* pointers[kBlockRows];
      for (std::int64_t t = 0; t < some.tiles; ++t) pointers[t] = some.planes + plane * in_stride + t * in;
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        ProductBlock product{pointers, some.tiles, 1, in, transformed + (panel * planes + i) * weight_stride, width};
        product.c = out_planes + plane * out_stride + panel * width;
        product.c_stride = padded;
        if (panel + 1 == panels && i + 1 < planes) {
          product.next = some.planes + plane_of(tiles.outputs, i + 1) * in_stride;
        }
        use.product(product);
      }
    }
    some.channels = columns;
    some.tile_stride = padded;
    some.plane_stride = out_stride;
    some.planes = out_planes;
    use.winograd_output(some);
  });
}

}  // namespace

void conv2d_winograd(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, bool upsample, const at::Tensor& out) {
  const std::int64_t images = out.size(0), height = out.size(2), width = out.size(3);
  const std::int64_t in = input.size(1), columns = out.size(1);
  const std::int64_t enlarged = upsample ? 2 : 1;
  TORCH_CHECK(input.size(0) == images && input.size(2) * enlarged == height && input.size(3) * enlarged == width &&
                  weight.size(1) == 9 * in && weight.size(0) * weight.size(2) >= columns && in % 16 == 0 &&
                  columns % 16 == 0,
              "conv2d_winograd: ", input.sizes(), " by ", weight.sizes(), " to ", out.sizes(),
              upsample ? " after enlarging twofold" : "");
  const Kernels& use = kernels();
  auto tiles = tiles_of_pictures<WinogradTiles>("conv2d_winograd", input, bias, residual, upsample, out);
  tiles.outputs = ops::winograd_outputs(height, width);

  const std::int64_t side = tiles.outputs + 2, plane_count = side * side;
  const std::int64_t total = images * ops::tiles_of(height, tiles.outputs) * ops::tiles_of(width, tiles.outputs);
  const std::int64_t panels = weight.size(0), panel_width = weight.size(2), padded = panels * panel_width;
  if (plane_count * in * padded <= kMostResident && total >= 4 * kTilesOfBlock * thread_count()) {
    return convolve_in_blocks(use, tiles, weight, in, columns, total);
  }
  // Weights are transformed once for each chunk of tiles: few chunks, of a size, whose planes need not stay in the
  // cache.
  constexpr std::int64_t kTilesPerTask = 8;
  const std::int64_t most = std::max(kBlockRows, (16 << 20) / (plane_count * (in + padded)));
  const std::int64_t chunks = (total + most - 1) / most;
  const std::int64_t chunk = round_up((total + chunks - 1) / chunks, kTilesPerTask);
  const std::int64_t in_stride = spread(chunk * in), out_stride = spread(chunk * padded);
  float* in_planes = thread_scratch(0, plane_count * in_stride);
  float* out_planes = thread_scratch(1, plane_count * out_stride);
  for (std::int64_t first = 0; first < total; first += chunk) {
    const std::int64_t count = std::min(chunk, total - first);
    const std::int64_t transform_tasks = (count + kTilesPerTask - 1) / kTilesPerTask;
    const auto part = [&](std::int64_t task, std::int64_t channels, float* planes) {
      WinogradTiles some = tiles;
      some.channels = channels;
      some.first_tile = first + task * kTilesPerTask;
      some.tiles = std::min(kTilesPerTask, count - task * kTilesPerTask);
      some.plane_stride = spread(chunk * channels);
      some.tile_stride = channels;
      some.planes = planes + task * kTilesPerTask * channels;
      return some;
    };
    for_each_task(transform_tasks, static_cast<double>(count * in) * 6,
                  [&](std::int64_t task) { use.winograd_input(part(task, in, in_planes)); });
    const double cost_ns = static_cast<double>(plane_count * count * in * padded) / 75;
    // A task is a panel where that leaves enough of them for every thread, else two rows of a panel's planes.
    const bool whole_panels = plane_count * count * panel_width <= kMostSums && panels >= 4 * thread_count();
    const std::int64_t tasks_per_panel = whole_panels ? 1 : side / 2;
    for_each_task(tasks_per_panel * panels, cost_ns, [&](std::int64_t task) {
      PlaneProducts products{
          weight, tiles.outputs, task / tasks_per_panel, task % tasks_per_panel, side / 2 / tasks_per_panel, upsample,
          in,     count};
      products.in_planes = in_planes;
      products.in_stride = in_stride;
      products.out_planes = out_planes + products.panel * panel_width;
      products.out_stride = out_stride;
      products.out_width = padded;
      run(use, products);
    });
    for_each_task(transform_tasks, static_cast<double>(count * columns) * 6, [&](std::int64_t task) {
      WinogradTiles some = part(task, padded, out_planes);
      some.channels = columns;
      use.winograd_output(some);
    });
  }
}

}  // namespace i2i::cpu
