// The product of product.h in bfloat16: blocks of rows are gathered, rounded and multiplied a slice of the depth at a
// time, so that rows and their sums stay in the second-level cache while the weights pass by.
#pragma once

#include "optimized/ops/cpu/product.h"

namespace i2i::cpu {

/// How a product is shared out: `blocks` of rows times `groups` of panels, and the depth in `slices`.
struct Bf16Plan {
  std::int64_t block_rows, blocks, panels_per_group, groups, slice_depth, slices;

  Bf16Plan(std::int64_t rows, std::int64_t depth, std::int64_t panels, std::int64_t most_rows) {
    constexpr std::int64_t kSliceDepth = 1280, kFewRows = 96;
    slices = (depth + kSliceDepth - 1) / kSliceDepth;
    slice_depth = round_up((depth + slices - 1) / slices, kBf16StepDepth);
    slices = (depth + slice_depth - 1) / slice_depth;

    const std::int64_t threads = thread_count();
    blocks = (rows + most_rows - 1) / most_rows;
    groups = 1;
    if (blocks < 4 * threads && blocks % threads != 0) {
      // Shorter blocks, unless each of their rows would then meet too few of the weights that come from memory.
      const std::int64_t even = round_up(blocks, threads);
      if (rows >= even * kFewRows) {
        blocks = even;
      } else {
        groups = threads;
      }
    }
    block_rows = round_up((rows + blocks - 1) / blocks, 16);  // whole tiles
    constexpr std::int64_t kMostPanels = 20;                  // whose sums fit beside the rows
    if (slices > 1) groups = std::max(groups, (panels + kMostPanels - 1) / kMostPanels);
    panels_per_group = (panels + groups - 1) / groups;
    groups = (panels + panels_per_group - 1) / panels_per_group;
    blocks = (rows + block_rows - 1) / block_rows;
  }
};

/// Elements [first, end) of rows whose segments lie one behind the other, as bfloat16.
/// @param pointers  [segments, rows]
inline void gather_bf16(const Product& product, const Kernels& use, const float* const* pointers, std::int64_t rows,
                        std::int64_t first, std::int64_t end, std::uint16_t* out, std::int64_t out_stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = first; k < end;) {
      const std::int64_t segment = k / product.depth, inside = k % product.depth;
      const std::int64_t count = std::min(product.depth - inside, end - k);
      // The zeros behind a segment make way for the next.
      use.bf16_rows({pointers[segment * rows + i] + inside, count, 1, count, out + i * out_stride + k - first, count});
      k += count;
    }
  }
}

/// @param fill  fill(first_row, count, pointers): writes [segments, count] row pointers
template <typename Fill>
void run_bf16_product(const Product& product, const Fill& fill) {
  const Kernels& use = kernels();
  const at::Tensor& packed = *product.packed;
  const bool geglu = product.finish.activation == Activation::kGeglu;
  const std::int64_t panels = packed.size(0), panel_width = packed.size(2), panel_words = packed.size(1) * panel_width;
  const std::int64_t out_width = geglu ? panel_width / 2 : panel_width, depth = product.segments * product.depth;
  TORCH_CHECK(packed.size(1) == round_up(depth, 2) && panels == (product.columns + out_width - 1) / out_width,
              "bfloat16 weight ", packed.sizes(), " does not fit depth ", depth, " and ", product.columns, " columns");
  const auto* weights = static_cast<const std::uint16_t*>(packed.const_data_ptr());

  const Bf16Plan plan(product.rows, depth, panels, use.bf16_block_rows);
  const std::int64_t stride = round_up(std::min(plan.slice_depth, depth), kBf16StepDepth);
  const std::int64_t panel_floats = plan.block_rows * panel_width;
  const double operations = 2.0 * static_cast<double>(product.rows * depth) * static_cast<double>(panels * panel_width);
  for_each_task(plan.blocks * plan.groups, operations / 500, [&](std::int64_t task) {
    const std::int64_t first_row = task % plan.blocks * plan.block_rows;
    const std::int64_t rows = std::min(plan.block_rows, product.rows - first_row);
    const std::int64_t first_panel = task / plan.blocks * plan.panels_per_group;
    const std::int64_t end_panel = std::min(panels, first_panel + plan.panels_per_group);
    thread_local std::vector<const float*> pointers;
    const auto wanted = static_cast<std::size_t>(product.segments * rows);
    if (pointers.size() < wanted) pointers.resize(wanted);
    fill(first_row, rows, pointers.data());
    auto* a = reinterpret_cast<std::uint16_t*>(thread_scratch(3, plan.block_rows * stride / 2));
    float* sums = thread_scratch(2, (plan.slices == 1 ? 1 : plan.panels_per_group) * panel_floats);
    for (std::int64_t first = 0; first < depth; first += plan.slice_depth) {
      const std::int64_t end = std::min(depth, first + plan.slice_depth);
      gather_bf16(product, use, pointers.data(), rows, first, end, a, stride);
      for (std::int64_t panel = first_panel; panel < end_panel; ++panel) {
        float* c = plan.slices == 1 ? sums : sums + (panel - first_panel) * panel_floats;
        // A few rows at a time, whose sums the finishing pass still finds in the first-level cache.
        for (std::int64_t row = 0; row < rows; row += kBlockRows) {
          Bf16ProductBlock block;
          block.a = reinterpret_cast<const std::uint8_t*>(a + row * stride);
          block.a_stride = 2 * stride;
          block.rows = std::min(kBlockRows, rows - row);
          block.groups = (end - first + 1) / 2;
          block.panel = reinterpret_cast<const std::int8_t*>(weights + panel * panel_words + first * panel_width);
          block.panel_width = panel_width;
          block.c = plan.slices == 1 ? c : c + row * panel_width;
          block.c_stride = panel_width;
          block.accumulate = first > 0;
          if (panel + 1 < end_panel) {
            block.next_bytes = 4 * block.groups * panel_width * block.rows / rows;
            block.next = block.panel + 2 * panel_words + 4 * block.groups * panel_width * row / rows;
          }
          use.bf16_product(block);
          if (end == depth) finish_block(product, use, block.c, panel, first_row + row, block.rows);
        }
      }
    }
  });
}

/// In the type that the packed weight has: float32 or bfloat16.
template <typename Fill>
void run_product_of_any_type(const Product& product, const Fill& fill) {
  if (product.packed->scalar_type() == at::kBFloat16) return run_bf16_product(product, fill);
  run_product(product, fill);
}

}  // namespace i2i::cpu
