// Memory for activations: blocks that are handed out again, to any shape that they hold, once nobody else has them.
// After the first request of a size nothing is allocated in the loop. Not for threads: one pipeline, one pool.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <utility>
#include <vector>

namespace i2i {

class Buffers {
 public:
  explicit Buffers(bool reuse, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU)
      : reuse_(reuse), dtype_(dtype), device_(device) {}

  /// [N,C,H,W] in channels-last memory, or NCHW; contents undefined.
  at::Tensor image(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, bool channels_last = true);

  /// [N,T,C], contents undefined.
  at::Tensor tokens(std::int64_t n, std::int64_t t, std::int64_t c);

  /// Like `shape_of` (an image in channels-last memory or tokens) with `channels` channels.
  at::Tensor like(const at::Tensor& shape_of, std::int64_t channels);

  /// Lets go of everything: called where the size of the pictures changes.
  void clear();

  /// Of all blocks together.
  std::int64_t bytes() const;

 private:
  using Key = std::array<std::int64_t, 5>;
  /// Memory, and the tensors that it has been so far. Free while nobody but the block holds any of them.
  struct Block {
    at::Tensor memory;
    std::vector<at::Tensor> views;
    bool free() const;
  };
  at::Tensor take(const Key& key);

  bool reuse_;
  at::ScalarType dtype_;
  at::Device device_;
  std::list<Block> blocks_;
  std::map<Key, std::vector<std::pair<Block*, at::Tensor>>> views_;
};

/// While it lives, work finds other buffers in place of its own: what runs at another time, or again, must not be given
/// memory that others use meanwhile.
class OtherBuffers {
 public:
  OtherBuffers(Buffers& usual, Buffers& others) : usual_(usual), others_(others) { std::swap(usual_, others_); }
  ~OtherBuffers() { std::swap(usual_, others_); }
  OtherBuffers(const OtherBuffers&) = delete;
  OtherBuffers& operator=(const OtherBuffers&) = delete;

 private:
  Buffers &usual_, &others_;
};

}  // namespace i2i
