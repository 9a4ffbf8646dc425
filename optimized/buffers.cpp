#include "optimized/buffers.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace i2i {
namespace {

struct Layout {
  std::vector<std::int64_t> sizes, strides;
  std::int64_t count = 1;
};

Layout layout_of(const std::array<std::int64_t, 5>& key) {
  Layout layout;
  if (key[0] == 0) {
    layout.sizes = {key[1], key[2], key[3]};
    layout.strides = {key[2] * key[3], key[3], 1};
  } else {
    const std::int64_t c = key[2], h = key[3], w = key[4];
    layout.sizes = {key[1], c, h, w};
    layout.strides = key[0] == 1 ? std::vector<std::int64_t>{c * h * w, 1, w * c, c}
                                 : std::vector<std::int64_t>{c * h * w, h * w, w, 1};
  }
  for (const std::int64_t size : layout.sizes) layout.count *= size;
  return layout;
}

}  // namespace

bool Buffers::Block::free() const {
  // A view of a view shares the storage, so it counts there; a copy of a handle counts at its tensor.
  if (static_cast<std::size_t>(memory.storage().use_count()) != 1 + views.size()) return false;
  return std::all_of(views.begin(), views.end(), [](const at::Tensor& view) { return view.use_count() == 2; });
}

at::Tensor Buffers::take(const Key& key) {
  if (reuse_) {
    const auto known = views_.find(key);
    if (known != views_.end()) {
      for (const auto& [block, view] : known->second) {
        if (block->free()) return view;
      }
    }
  }
  const Layout layout = layout_of(key);
  Block* best = nullptr;
  if (reuse_) {
    // The smallest free block that is large enough, and not so large that something larger would soon want for it.
    for (Block& block : blocks_) {
      const std::int64_t room = block.memory.numel();
      if (room < layout.count || room > 2 * layout.count || !block.free()) continue;
      if (best == nullptr || room < best->memory.numel()) best = &block;
    }
  }
  at::Tensor memory =
      best != nullptr ? best->memory : at::empty({layout.count}, at::TensorOptions().dtype(dtype_).device(device_));
  const at::Tensor view = memory.as_strided(layout.sizes, layout.strides);
  if (!reuse_) return view;
  if (best == nullptr) best = &blocks_.emplace_back(Block{std::move(memory), {}});
  best->views.push_back(view);
  return views_[key].emplace_back(best, view).second;
}

void Buffers::clear() {
  views_.clear();
  blocks_.clear();
}

std::int64_t Buffers::bytes() const {
  std::int64_t total = 0;
  for (const Block& block : blocks_) total += static_cast<std::int64_t>(block.memory.nbytes());
  return total;
}

at::Tensor Buffers::image(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, bool channels_last) {
  return take({channels_last ? 1 : 2, n, c, h, w});
}

at::Tensor Buffers::tokens(std::int64_t n, std::int64_t t, std::int64_t c) { return take({0, n, t, c, 0}); }

at::Tensor Buffers::like(const at::Tensor& shape_of, std::int64_t channels) {
  if (shape_of.dim() == 4) return image(shape_of.size(0), channels, shape_of.size(2), shape_of.size(3));
  return tokens(shape_of.size(0), shape_of.size(1), channels);
}

}  // namespace i2i
