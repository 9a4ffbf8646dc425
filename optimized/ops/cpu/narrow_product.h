// The product of product.h with operands narrower than a float: rows are rounded as they are, then multiplied with
// weights that were rounded when they were packed. A `Form` says how: in bytes, each row with its own step, or in
// bfloat16. Nothing has to be known of the activations beforehand.
#pragma once

#include "optimized/ops/cpu/product.h"

namespace i2i::cpu {

/// Weights of pack_weight_int8.
struct Int8Form {
  static constexpr at::ScalarType kType = at::kChar;
  static constexpr double kOperationsPerNs = 500;  ///< a rough estimate

  static std::int64_t groups(std::int64_t depth) { return (depth + 3) / 4; }
  static std::int64_t row_bytes(std::int64_t depth) { return 4 * groups(depth); }
  static std::int64_t panel_rows(std::int64_t depth) { return int8_panel_rows(groups(depth)); }

  /// Gathers a row's segments and quantizes them. @param pointers  [segments, stride], at the row
  static void round_row(const Product& product, const Kernels& use, const float* const* pointers, std::int64_t stride,
                        std::uint8_t* out, float* scale) {
    const std::int64_t width = product.segments * product.depth;
    const float* row = pointers[0];
    if (product.segments > 1) {
      float* gathered = thread_scratch(2, width);
      for (std::int64_t s = 0; s < product.segments; ++s) {
        std::copy_n(pointers[s * stride], product.depth, gathered + s * product.depth);
      }
      row = gathered;
    }
    use.quantize_rows({row, width, 1, width, out, row_bytes(width), scale});
  }

  static void multiply(const Kernels& use, const NarrowProductBlock& block, const float* scales) {
    Int8ProductBlock bytes{block};
    bytes.row_scale = scales;
    set_panel(bytes, block.panel, block.panel_width);
    use.int8_product(bytes);
  }
};

/// Weights of pack_weight in bfloat16.
struct Bf16Form {
  static constexpr at::ScalarType kType = at::kBFloat16;
  static constexpr double kOperationsPerNs = 500;

  static std::int64_t groups(std::int64_t depth) { return (depth + 1) / 2; }
  static std::int64_t row_bytes(std::int64_t depth) { return round_up(2 * depth, kBf16RowStep); }
  static std::int64_t panel_rows(std::int64_t depth) { return 2 * groups(depth); }

  static void round_row(const Product& product, const Kernels& use, const float* const* pointers, std::int64_t stride,
                        std::uint8_t* out, float*) {
    // The zeros behind a segment make way for the next.
    auto* words = reinterpret_cast<std::uint16_t*>(out);
    for (std::int64_t s = 0; s < product.segments; ++s) {
      use.bf16_rows({pointers[s * stride], product.depth, 1, product.depth, words + s * product.depth, product.depth});
    }
  }

  static void multiply(const Kernels& use, const NarrowProductBlock& block, const float*) { use.bf16_product(block); }
};

/// @param fill  fill(first_row, count, pointers): writes [segments, count] row pointers
template <typename Form, typename Fill>
void run_narrow_product(const Product& product, const Fill& fill) {
  const Kernels& use = kernels();
  const at::Tensor& packed = *product.packed;
  const bool geglu = product.finish.activation == Activation::kGeglu;
  const std::int64_t panels = packed.size(0), panel_width = packed.size(2),
                     panel_bytes = packed.size(1) * panel_width * packed.element_size(),
                     out_width = geglu ? panel_width / 2 : panel_width;
  const std::int64_t depth = product.segments * product.depth, row_bytes = Form::row_bytes(depth);
  TORCH_CHECK(packed.scalar_type() == Form::kType && packed.size(1) == Form::panel_rows(depth) &&
                  panels == (product.columns + out_width - 1) / out_width,
              "packed weight ", packed.sizes(), " in ", packed.scalar_type(), " does not fit depth ", depth, " and ",
              product.columns, " columns");
  const auto* weights = static_cast<const std::int8_t*>(packed.const_data_ptr());

  const auto round_rows = [&](std::int64_t first_row, std::int64_t rows, std::uint8_t* bytes, float* scales) {
    thread_local std::vector<const float*> pointers;
    const auto wanted = static_cast<std::size_t>(product.segments * rows);
    if (pointers.size() < wanted) pointers.resize(wanted);
    fill(first_row, rows, pointers.data());
    for (std::int64_t i = 0; i < rows; ++i) {
      Form::round_row(product, use, pointers.data() + i, rows, bytes + i * row_bytes, scales + i);
    }
  };
  const auto multiply = [&](std::int64_t first_row, std::int64_t rows, const std::uint8_t* bytes, const float* scales,
                            std::int64_t panel) {
    alignas(64) float c[kBlockRows * kMaxPanelWidth];
    NarrowProductBlock block;
    block.a = bytes;
    block.a_stride = row_bytes;
    block.rows = rows;
    block.groups = Form::groups(depth);
    block.panel = weights + panel * panel_bytes;
    block.panel_width = panel_width;
    block.c = c;
    block.c_stride = panel_width;
    Form::multiply(use, block, scales);
    finish_block(product, use, c, panel, first_row, rows);
  };

  const std::int64_t threads = thread_count(), block_rows = rows_per_block(product.rows, panels);
  const std::int64_t blocks = (product.rows + block_rows - 1) / block_rows;
  const double operations = 2.0 * static_cast<double>(product.rows * depth) * static_cast<double>(panels * panel_width);
  const auto rows_of_block = [&](std::int64_t block) {
    return std::min(block_rows, product.rows - block * block_rows);
  };
  // Many rows: each thread rounds a block and takes it past all panels, which the cache keeps.
  constexpr std::int64_t kPanelsThatStay = 4 << 20;
  if (panels * panel_bytes <= kPanelsThatStay && (blocks >= 8 * threads || blocks == threads || threads == 1)) {
    for_each_task(blocks, operations / Form::kOperationsPerNs, [&](std::int64_t block) {
      const std::int64_t rows = rows_of_block(block);
      float* scales = thread_scratch(3, kBlockRows + kBlockRows * row_bytes / 4);
      auto* bytes = reinterpret_cast<std::uint8_t*>(scales + kBlockRows);
      round_rows(block * block_rows, rows, bytes, scales);
      for (std::int64_t panel = 0; panel < panels; ++panel) multiply(block * block_rows, rows, bytes, scales, panel);
    });
    return;
  }
  // Few rows or heavy weights: everything is rounded first, then each panel comes from memory once.
  float* scales = thread_scratch(0, round_up(product.rows, 16) + product.rows * row_bytes / 4);
  auto* bytes = reinterpret_cast<std::uint8_t*>(scales + round_up(product.rows, 16));
  constexpr std::int64_t kRowsPerTask = 8;
  for_each_task((product.rows + kRowsPerTask - 1) / kRowsPerTask, static_cast<double>(product.rows * depth) * 0.2,
                [&](std::int64_t task) {
                  const std::int64_t first = task * kRowsPerTask;
                  round_rows(first, std::min(kRowsPerTask, product.rows - first), bytes + first * row_bytes,
                             scales + first);
                });
  for_each_task(blocks * panels, operations / Form::kOperationsPerNs, [&](std::int64_t task) {
    const std::int64_t first = task % blocks * block_rows;
    multiply(first, rows_of_block(task % blocks), bytes + first * row_bytes, scales + first, task / blocks);
  });
}

/// In the form that the packed weight has: float32 or bfloat16.
template <typename Fill>
void run_product_of_any_type(const Product& product, const Fill& fill) {
  if (product.packed->scalar_type() == Bf16Form::kType) return run_narrow_product<Bf16Form>(product, fill);
  run_product(product, fill);
}

}  // namespace i2i::cpu
