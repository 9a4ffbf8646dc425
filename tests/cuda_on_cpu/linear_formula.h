// Products with their epilogues as the formulas say, for the tests of linear and geglu.
#pragma once

#include <cmath>
#include <vector>

#include "optimized/ops/cuda/linear.h"

namespace i2i::cuda {

template <typename T>
struct LinearInputs {
  int rows, in_channels, out_channels;           ///< out_channels: of the product, twice geglu's
  std::vector<T> input, weight, bias, residual;  ///< the last two may be empty
};

template <typename Number>
Number activation_formula(Activation activation, Number x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(Number(-1.702) * x));
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(Number(2))));
  }
  return x;
}

template <typename Number, typename T>
Number number(const std::vector<T>& values, int index) {
  return static_cast<Number>(static_cast<float>(values[static_cast<std::size_t>(index)]));
}

/// act(input weight^T + bias) + residual
template <typename Number, typename T>
std::vector<Number> linear_formula(const LinearInputs<T>& p, Activation activation) {
  std::vector<Number> out;
  for (int row = 0; row < p.rows; ++row) {
    for (int column = 0; column < p.out_channels; ++column) {
      Number sum = p.bias.empty() ? Number(0) : number<Number>(p.bias, column);
      for (int k = 0; k < p.in_channels; ++k)
        sum += number<Number>(p.input, row * p.in_channels + k) * number<Number>(p.weight, column * p.in_channels + k);
      const Number residual =
          p.residual.empty() ? Number(0) : number<Number>(p.residual, row * p.out_channels + column);
      out.push_back(activation_formula(activation, sum) + residual);
    }
  }
  return out;
}

/// value * gelu(gate), the halves of input weight^T + bias
template <typename Number, typename T>
std::vector<Number> geglu_formula(const LinearInputs<T>& p) {
  const std::vector<Number> both = linear_formula<Number>(p, Activation::kNone);
  const auto width = static_cast<std::size_t>(p.out_channels), half = width / 2;
  std::vector<Number> out;
  for (std::size_t row = 0; row < static_cast<std::size_t>(p.rows); ++row) {
    for (std::size_t i = 0; i < half; ++i) {
      out.push_back(both[row * width + i] * activation_formula(Activation::kGelu, both[row * width + half + i]));
    }
  }
  return out;
}

}  // namespace i2i::cuda
