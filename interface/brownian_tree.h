// A Brownian path that can be asked for the increment of any interval, with the numbers of torchsde 0.2.6's
// BrownianInterval (halfway_tree, tol 1e-6, pool_size 24), which diffusers' DPM++ SDE takes its noise from. Called by
// noise.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

namespace i2i {

/// The path is never stored: halving [start, end] down to an interval's ends, with Brownian bridges between (Li et al.
/// 2020, arXiv:2001.01328, section 4), gives the same increments in whatever order intervals are asked for.
class BrownianTree {
 public:
  /// @param start, end  rounded to six decimals; start < end
  /// @param size        shape of an increment
  BrownianTree(std::uint64_t seed, double start, double end, std::vector<std::int64_t> size);

  /// W(to) - W(from), float32; from <= to, both clamped to the tree's ends and rounded to six decimals.
  at::Tensor increment(double from, double to) const;

 private:
  /// One interval of the tree: the path's increment over it, and its place among the seeds.
  struct Node {
    double start, end;
    std::uint64_t spawn_key, depth;
    at::Tensor increment;
  };
  void add(const Node& node, double from, double to, at::Tensor& sum) const;
  at::Tensor normal(std::uint32_t seed) const;

  std::uint64_t seed_;
  double start_, end_;
  std::vector<std::int64_t> size_;
};

/// The first words of numpy.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(count)
/// (O'Neill's seed_seq, with hashing that keeps parents and children apart). @param spawn_key  empty for the root
std::vector<std::uint32_t> seed_sequence(std::uint64_t entropy, const std::vector<std::uint64_t>& spawn_key,
                                         std::size_t count);

}  // namespace i2i
