// What tests of operators share: outputs between guards, every instruction set in turn, plain formulas in double.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "optimized/ops.h"
#include "optimized/ops/cpu/instruction_sets.h"

namespace i2i {

constexpr std::size_t kGuardFloats = 64;
constexpr float kGuard = -7.25e19f;

/// Memory with guards on both sides and a tensor in the middle, poisoned with NaN.
class Guarded {
 public:
  explicit Guarded(std::vector<std::int64_t> sizes) {
    std::int64_t numel = 1;
    for (const std::int64_t size : sizes) numel *= size;
    memory_.assign(static_cast<std::size_t>(numel) + 2 * kGuardFloats, kGuard);
    std::fill_n(memory_.begin() + kGuardFloats, numel, NAN);
    std::vector<std::int64_t> strides(sizes.size(), 1);
    if (sizes.size() == 4) {  // channels-last
      strides = {sizes[1] * sizes[2] * sizes[3], 1, sizes[1] * sizes[3], sizes[1]};
    } else {
      for (std::size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * sizes[i];
    }
    tensor = at::from_blob(memory_.data() + kGuardFloats, sizes, strides, at::kFloat);
  }
  ~Guarded() {
    for (std::size_t i = 0; i < kGuardFloats; ++i) {
      EXPECT_EQ(memory_[i], kGuard) << "written " << kGuardFloats - i << " floats before the output";
      EXPECT_EQ(memory_[memory_.size() - 1 - i], kGuard) << "written past the output";
    }
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  at::Tensor tensor;

 private:
  std::vector<float> memory_;
};

class Operators : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    at::manual_seed(20240611);
    if (!cpu::choose_instruction_set(GetParam())) GTEST_SKIP() << "this processor lacks " << GetParam();
    tested().insert("pack_weight");
  }
  void TearDown() override { cpu::choose_instruction_set(""); }

 public:
  static std::set<std::string>& tested() {
    static std::set<std::string> names;
    return names;
  }
};

inline at::Tensor image(const std::vector<std::int64_t>& sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast);
}
inline at::Tensor wide(const at::Tensor& x) { return x.to(at::kDouble); }

/// Largest difference, relative to the largest magnitude expected. NaN anywhere is infinitely far.
inline double distance(const at::Tensor& got, const at::Tensor& expected) {
  const double worst = (wide(got) - expected).abs().max().item<double>();
  return std::isfinite(worst) ? worst / std::max(1e-30, expected.abs().max().item<double>()) : INFINITY;
}

// fp32 sums of up to a few thousand terms, in another order than double's.
constexpr double kSum = 3e-6;
// One or two roundings and a transcendental function good to its last place.
constexpr double kPointwise = 1e-6;
inline at::Tensor activated(const at::Tensor& x, ops::Activation activation) {
  switch (activation) {
    case ops::kSilu:
      return at::silu(x);
    case ops::kQuickGelu:
      return x * at::sigmoid(1.702 * x);
    case ops::kGelu:
      return at::gelu(x);
    case ops::kGeglu:
      return x.chunk(2, -1)[0] * at::gelu(x.chunk(2, -1)[1]);
    case ops::kNone:
      break;
  }
  return x;
}

inline at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, std::int64_t heads,
                            bool causal) {
  const auto split = [heads](const at::Tensor& x) { return wide(x).unflatten(-1, {heads, -1}).transpose(1, 2); };
  const std::int64_t head_size = query.size(-1) / heads;
  at::Tensor scores =
      at::matmul(split(query), split(key).transpose(-1, -2)) / std::sqrt(static_cast<double>(head_size));
  if (causal) scores = scores.masked_fill(at::ones({scores.size(-2), scores.size(-1)}, at::kBool).triu(1), -INFINITY);
  return at::matmul(scores.softmax(-1), split(value)).transpose(1, 2).flatten(2);
}

}  // namespace i2i
