// The product of product.h in bytes: rows are quantized as they are, each with its own step, then multiplied with
// weights of pack_weight_int8. Nothing has to be known of the activations beforehand.
#pragma once

#include "optimized/ops/cpu/product.h"

namespace i2i::cpu {

/// Gathers a row's segments and quantizes them. @param pointers  [segments, stride], at the row
inline void quantize_row(const Product& product, const Kernels& use, const float* const* pointers, std::int64_t stride,
                         std::uint8_t* out, std::int64_t out_stride, float* scale) {
  const std::int64_t width = product.segments * product.depth;
  const float* row = pointers[0];
  if (product.segments > 1) {
    float* gathered = thread_scratch(2, width);
    for (std::int64_t s = 0; s < product.segments; ++s) {
      std::copy_n(pointers[s * stride], product.depth, gathered + s * product.depth);
    }
    row = gathered;
  }
  use.quantize_rows({row, width, 1, width, out, out_stride, scale});
}

/// @param fill  fill(first_row, count, pointers): writes [segments, count] row pointers
template <typename Fill>
void run_int8_product(const Product& product, const Fill& fill) {
  const Kernels& use = kernels();
  const at::Tensor& packed = *product.packed;
  const bool geglu = product.finish.activation == Activation::kGeglu;
  const std::int64_t panels = packed.size(0), panel_bytes = packed.size(1) * packed.size(2),
                     panel_width = packed.size(2), out_width = geglu ? panel_width / 2 : panel_width;
  const std::int64_t depth = product.segments * product.depth, groups = (depth + 3) / 4, row_bytes = 4 * groups;
  TORCH_CHECK(packed.scalar_type() == at::kChar && packed.size(1) == int8_panel_rows(groups) &&
                  panels == (product.columns + out_width - 1) / out_width,
              "int8 weight ", packed.sizes(), " does not fit depth ", depth, " and ", product.columns, " columns");
  const auto* weights = static_cast<const std::int8_t*>(packed.const_data_ptr());

  const auto quantize = [&](std::int64_t first_row, std::int64_t rows, std::uint8_t* bytes, float* scales) {
    thread_local std::vector<const float*> pointers;
    const auto wanted = static_cast<std::size_t>(product.segments * rows);
    if (pointers.size() < wanted) pointers.resize(wanted);
    fill(first_row, rows, pointers.data());
    for (std::int64_t i = 0; i < rows; ++i) {
      quantize_row(product, use, pointers.data() + i, rows, bytes + i * row_bytes, row_bytes, scales + i);
    }
  };
  const auto multiply = [&](std::int64_t first_row, std::int64_t rows, const std::uint8_t* bytes, const float* scales,
                            std::int64_t panel) {
    alignas(64) float c[kBlockRows * kMaxPanelWidth];
    Int8ProductBlock block;
    block.a = bytes;
    block.a_stride = row_bytes;
    block.row_scale = scales;
    block.rows = rows;
    block.groups = groups;
    set_panel(block, weights + panel * panel_bytes, panel_width);
    block.c = c;
    block.c_stride = panel_width;
    use.int8_product(block);
    finish_block(product, use, c, panel, first_row, rows);
  };

  const std::int64_t threads = thread_count(), block_rows = rows_per_block(product.rows, panels);
  const std::int64_t blocks = (product.rows + block_rows - 1) / block_rows;
  const double operations = 2.0 * static_cast<double>(product.rows * depth) * static_cast<double>(panels * panel_width);
  const auto rows_of_block = [&](std::int64_t block) {
    return std::min(block_rows, product.rows - block * block_rows);
  };
  // Many rows: each thread quantizes a block and takes it past all panels, which the cache keeps.
  constexpr std::int64_t kPanelsThatStay = 4 << 20;
  if (panels * panel_bytes <= kPanelsThatStay && (blocks >= 8 * threads || blocks == threads || threads == 1)) {
    for_each_task(blocks, operations / 500, [&](std::int64_t block) {
      const std::int64_t rows = rows_of_block(block);
      float* scales = thread_scratch(3, kBlockRows + kBlockRows * groups);
      auto* bytes = reinterpret_cast<std::uint8_t*>(scales + kBlockRows);
      quantize(block * block_rows, rows, bytes, scales);
      for (std::int64_t panel = 0; panel < panels; ++panel) multiply(block * block_rows, rows, bytes, scales, panel);
    });
    return;
  }
  // Few rows or heavy weights: everything is quantized first, then each panel comes from memory once.
  float* scales = thread_scratch(0, round_up(product.rows, 16) + product.rows * groups);
  auto* bytes = reinterpret_cast<std::uint8_t*>(scales + round_up(product.rows, 16));
  constexpr std::int64_t kRowsPerTask = 8;
  for_each_task((product.rows + kRowsPerTask - 1) / kRowsPerTask, static_cast<double>(product.rows * depth) * 0.2,
                [&](std::int64_t task) {
                  const std::int64_t first = task * kRowsPerTask;
                  quantize(first, std::min(kRowsPerTask, product.rows - first), bytes + first * row_bytes,
                           scales + first);
                });
  for_each_task(blocks * panels, operations / 500, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * block_rows;
    multiply(first, rows_of_block(task % blocks), bytes + first * row_bytes, scales + first, task / blocks);
  });
}

}  // namespace i2i::cpu
