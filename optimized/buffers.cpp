#include "optimized/buffers.h"

#include <ATen/ops/empty.h>

namespace i2i {
namespace {

at::Tensor allocate(const std::array<std::int64_t, 5>& key) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  if (key[0] == 0) return at::empty({key[1], key[2], key[3]}, options);
  return at::empty({key[1], key[2], key[3], key[4]}, options,
                   key[0] == 1 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

}  // namespace

at::Tensor Buffers::take(const Key& key) {
  if (!reuse_) return allocate(key);
  std::vector<at::Tensor>& pool = free_[key];
  // Held by the pool alone (views share the storage, so they count): free.
  for (at::Tensor& tensor : pool) {
    if (tensor.use_count() == 1 && tensor.storage().use_count() == 1) return tensor;
  }
  return pool.emplace_back(allocate(key));
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
