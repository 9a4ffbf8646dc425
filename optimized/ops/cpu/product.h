// One matrix product against packed panels, shared out over threads: what linear and conv2d have in common. The caller
// says where the rows are (`fill`), this says who computes which block.
#pragma once

#include <c10/util/Exception.h>

#include <algorithm>
#include <vector>

#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/parallel.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

struct Product {
  std::int64_t rows = 0;
  std::int64_t segments = 1;
  std::int64_t depth = 0;
  const at::Tensor* packed = nullptr;  ///< [panels, segments * depth, panel_width]
  std::int64_t columns = 0;            ///< of out
  FinishBlock finish;                  ///< bias, residual, activation and out at the first row and column
};

/// Bias, activation and residual for one panel's columns of a block of rows.
inline void finish_block(const Product& product, const Kernels& use, const float* c, std::int64_t panel,
                         std::int64_t first_row, std::int64_t rows) {
  const std::int64_t panel_width = product.packed->size(2);
  const std::int64_t out_width = product.finish.activation == Activation::kGeglu ? panel_width / 2 : panel_width;
  const std::int64_t column = panel * out_width, offset = first_row * product.finish.out_stride + column;
  FinishBlock finish = product.finish;
  finish.c = c;
  finish.c_stride = panel_width;
  finish.rows = rows;
  finish.columns = std::min(out_width, product.columns - column);
  finish.gate_offset = out_width;
  finish.first_row = first_row;
  if (finish.bias != nullptr) finish.bias += column;
  if (finish.residual != nullptr) finish.residual += offset;
  finish.out += offset;
  use.finish(finish);
}

/// Blocks are as tall as the cache allows, but enough of them for every thread to have some.
inline std::int64_t rows_per_block(std::int64_t rows, std::int64_t panels) {
  const std::int64_t threads = thread_count();
  std::int64_t block_rows = kBlockRows;
  while (block_rows > 24 && threads > 1) {
    const std::int64_t tasks = panels * ((rows + block_rows - 1) / block_rows);
    if (tasks >= 4 * threads || tasks % threads == 0) break;
    block_rows -= 24;
  }
  return block_rows;
}

/// @param fill  fill(first_row, count, pointers): writes [segments, count] row pointers
template <typename Fill>
void run_product(const Product& product, const Fill& fill) {
  const Kernels& use = kernels();
  const std::int64_t panel_width = product.packed->size(2), depth = product.segments * product.depth;
  const bool geglu = product.finish.activation == Activation::kGeglu;
  const std::int64_t out_width = geglu ? panel_width / 2 : panel_width;
  const std::int64_t panels = product.packed->size(0);
  TORCH_CHECK(product.packed->size(1) == depth && panels == (product.columns + out_width - 1) / out_width,
              "packed weight ", product.packed->sizes(), " does not fit depth ", depth, " and ", product.columns,
              " columns");

  const std::int64_t threads = thread_count(), block_rows = rows_per_block(product.rows, panels);
  const std::int64_t blocks = (product.rows + block_rows - 1) / block_rows;
  // A block of rows passes all panels where the caches keep these: the rows then come from far once, and the panels,
  // read from end to end, in time wherever they are. Heavier weights are walked panel by panel, as are few blocks,
  // which would leave threads idle.
  constexpr std::int64_t kPanelsThatStay = 1 << 20;
  const bool panels_inside =
      panels * depth * panel_width <= kPanelsThatStay && (blocks % threads == 0 || blocks >= 8 * threads);
  const std::int64_t panels_per_task = panels_inside ? panels : 1;
  const std::int64_t panel_tasks = panels / panels_per_task;

  const auto* packed = static_cast<const float*>(product.packed->const_data_ptr());
  const double flops =
      2.0 * static_cast<double>(product.rows) * static_cast<double>(depth) * static_cast<double>(panels * panel_width);
  for_each_task(blocks * panel_tasks, flops / 150.0, [&](std::int64_t task) {
    const std::int64_t block = task % blocks, first_panel = task / blocks * panels_per_task;
    const std::int64_t first_row = block * block_rows, rows = std::min(block_rows, product.rows - first_row);
    thread_local std::vector<const float*> pointers;
    if (pointers.size() < static_cast<std::size_t>(product.segments * rows)) {
      pointers.resize(static_cast<std::size_t>(product.segments * kBlockRows));
    }
    fill(first_row, rows, pointers.data());
    alignas(64) float c[kBlockRows * kMaxPanelWidth];
    for (std::int64_t panel = first_panel; panel < first_panel + panels_per_task; ++panel) {
      ProductBlock sums{pointers.data(), rows, product.segments, product.depth, packed + panel * depth * panel_width,
                        panel_width,     c,    panel_width};
      const std::int64_t first = first_row * product.finish.out_stride + panel * out_width;
      sums.out = product.finish.out + first;
      if (product.finish.residual != nullptr) sums.residual = product.finish.residual + first;
      sums.out_stride = product.finish.out_stride;
      use.product(sums);
      finish_block(product, use, c, panel, first_row, rows);
    }
  });
}

}  // namespace i2i::cpu
