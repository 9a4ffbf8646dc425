#include "interface/brownian_tree.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "interface/error.h"

namespace i2i {
namespace {

/// To the nearest multiple of 1e-6, decided on the exact binary value: through decimal digits.
double six_decimals(double x) { return std::strtod(fmt::format("{:.6f}", x).c_str(), nullptr); }

void append_words(std::vector<std::uint32_t>& words, std::uint64_t value) {
  words.push_back(static_cast<std::uint32_t>(value));
  if (value >> 32 != 0) words.push_back(static_cast<std::uint32_t>(value >> 32));
}

/// A multiplicative hash whose constant moves on with every value.
class Hash {
 public:
  Hash(std::uint32_t constant, std::uint32_t factor) : constant_(constant), factor_(factor) {}
  std::uint32_t operator()(std::uint32_t value) {
    value ^= constant_;
    constant_ *= factor_;
    value *= constant_;
    return value ^ (value >> 16);
  }

 private:
  std::uint32_t constant_, factor_;
};

}  // namespace

std::vector<std::uint32_t> seed_sequence(std::uint64_t entropy, const std::vector<std::uint64_t>& spawn_key,
                                         std::size_t count) {
  constexpr std::size_t kPool = 24;
  std::vector<std::uint32_t> words;
  append_words(words, entropy);
  if (!spawn_key.empty()) words.resize(kPool);  // so that a key is never taken for more entropy
  for (const std::uint64_t key : spawn_key) append_words(words, key);

  Hash hash(0x43b0d7e5U, 0x931e8875U);
  const auto mix = [](std::uint32_t x, std::uint32_t y) {
    const std::uint32_t mixed = 0xca01f9ddU * x - 0x4973f715U * y;
    return mixed ^ (mixed >> 16);
  };
  std::array<std::uint32_t, kPool> pool{};
  for (std::size_t i = 0; i < kPool; ++i) pool[i] = hash(i < words.size() ? words[i] : 0);
  for (std::size_t from = 0; from < kPool; ++from) {
    for (std::size_t to = 0; to < kPool; ++to) {
      if (from != to) pool[to] = mix(pool[to], hash(pool[from]));
    }
  }
  for (std::size_t i = kPool; i < words.size(); ++i) {
    for (auto& word : pool) word = mix(word, hash(words[i]));
  }

  Hash out(0x8b51f9ddU, 0x58f38dedU);
  std::vector<std::uint32_t> state;
  for (std::size_t i = 0; i < count; ++i) state.push_back(out(pool[i % kPool]));
  return state;
}

BrownianTree::BrownianTree(std::uint64_t seed, double start, double end, std::vector<std::int64_t> size)
    : seed_(seed), start_(start), end_(end), size_(std::move(size)) {
  if (!(six_decimals(start) < six_decimals(end))) {
    throw Error(ErrorCode::kUsage, fmt::format("Brownian tree: {} is not below {}", start, end));
  }
}

at::Tensor BrownianTree::increment(double from, double to) const {
  const Node root{six_decimals(start_), six_decimals(end_), 0, 0,
                  normal(seed_sequence(seed_, {}, 1)[0]) * std::sqrt(end_ - start_)};
  const double first = six_decimals(std::clamp(from, root.start, root.end));
  const double last = six_decimals(std::clamp(to, root.start, root.end));
  at::Tensor sum;
  if (first < last) add(root, first, last, sum);
  return sum.defined() ? sum : at::zeros_like(root.increment);
}

/// Adds what of [from, to] lies in the node, left to right.
void BrownianTree::add(const Node& node, double from, double to, at::Tensor& sum) const {
  if (from == node.start && to == node.end) {
    sum = sum.defined() ? sum + node.increment : node.increment;
    return;
  }
  const double middle = six_decimals(0.5 * (node.end + node.start));
  const double left = middle - node.start, right = node.end - middle, reciprocal = 1 / (node.end - node.start);
  const at::Tensor noise = normal(seed_sequence(seed_, {node.spawn_key, node.depth}, 1)[0]);
  // The Brownian bridge's mean and spread at the middle.
  const at::Tensor bridge = node.increment * left * reciprocal + std::sqrt(left * right * reciprocal) * noise;
  if (from < middle) {
    add({node.start, middle, 2 * node.spawn_key, node.depth + 1, bridge}, from, std::min(to, middle), sum);
  }
  if (to > middle) {
    add({middle, node.end, 2 * node.spawn_key + 1, node.depth + 1, node.increment - bridge}, std::max(from, middle), to,
        sum);
  }
}

at::Tensor BrownianTree::normal(std::uint32_t seed) const {
  return at::randn(size_, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat));
}

}  // namespace i2i
