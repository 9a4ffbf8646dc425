// ldmatrix and mma.sync, computed for the whole warp at once. Fragments as the PTX ISA lays them out ("Matrix fragments
// for mma.m16n8k16" and "mma.m16n8k32"): here by element, where its lane, register and part of the register are; the
// test goes the other way.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "tests/cuda_on_cpu/emulated_cuda.h"
#include "tests/cuda_on_cpu/state.h"

namespace i2i::cuda_on_cpu {
namespace {

bool whole_warp(const WarpCall& call) {
  if (call.lanes == kFullMask) return true;
  report_issue("partial-warp", std::string(call.operation) + " needs all 32 lanes of a warp", call.site);
  return false;
}

struct LoadOperand {
  const void* row;
  unsigned matrices;
  bool transposed;
};

// Lane 8m + i gives the address of row i of matrix m; every lane receives two neighbours of row lane / 4 (of column
// lane / 4, transposed).
void complete_ldmatrix(const WarpCall& call) {
  if (!whole_warp(call)) return;
  const auto& first = *static_cast<const LoadOperand*>(call.warp.lanes[0]->operand);
  for (unsigned m = 0; m < first.matrices; ++m) {
    std::array<const void*, 8> rows{};
    std::array<std::array<std::uint16_t, 8>, 8> matrix{};
    for (unsigned i = 0; i < 8; ++i) {
      Thread& lane = *call.warp.lanes[8 * m + i];
      rows[i] = static_cast<const LoadOperand*>(lane.operand)->row;
      if (reinterpret_cast<std::uintptr_t>(rows[i]) % 16 != 0)
        report_issue("misaligned", "ldmatrix: a row's address is no multiple of 16", call.site);
      access(lane, rows[i], 16, Access::kMatrixRead, call.site);
      std::memcpy(matrix[i].data(), rows[i], 16);
    }
    if (launch_options().count_traffic) note_matrix_load(rows, call.site);
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      const unsigned i = lane / 4, j = lane % 4 * 2;
      const unsigned low = first.transposed ? matrix[j][i] : matrix[i][j];
      const unsigned high = first.transposed ? matrix[j + 1][i] : matrix[i][j + 1];
      static_cast<unsigned*>(call.warp.lanes[lane]->result)[m] = low | high << 16;
    }
  }
  ++launch_report().matrix_loads;
}

const std::vector<float>& half_values() {
  static const std::vector<float> values = [] {
    std::vector<float> table(65536);
    for (unsigned bits = 0; bits < table.size(); ++bits) {
      __half_raw raw;
      raw.x = static_cast<unsigned short>(bits);
      table[bits] = __half2float(__half(raw));
    }
    return table;
  }();
  return values;
}

template <int Rows, int Columns>
using Matrix = std::array<std::array<float, Columns>, Rows>;

struct ProductOperand {
  const float* c;
  const unsigned* a;
  const unsigned* b;
};

// c + sum of products, aligned to the largest exponent with two guard bits and cut off, then cut to fp32.
float truncating_dot(const std::array<float, 16>& a, const Matrix<16, 8>& b, unsigned column, float c) {
  std::array<double, 17> terms{};
  double largest = 0, plain = 0;
  for (unsigned k = 0; k < 17; ++k) {
    terms[k] = k < 16 ? double{a[k]} * double{b[k][column]} : double{c};
    largest = std::max(largest, std::abs(terms[k]));
    plain += terms[k];
  }
  if (!std::isfinite(plain) || largest == 0) return static_cast<float>(plain);
  const int exponent = std::ilogb(largest);
  double sum = 0;
  for (const double term : terms) sum += std::trunc(std::scalbn(term, 25 - exponent));
  if (sum == 0) return 0;
  const int drop = std::ilogb(sum) - 23;
  return static_cast<float>(std::scalbn(std::trunc(std::scalbn(sum, -drop)), drop + exponent - 25));
}

void multiply_row(const std::array<float, 16>& a, const Matrix<16, 8>& b, std::array<float, 8>& d) {
  switch (launch_options().mma) {
    case MmaRounding::kFloatChain:
      for (unsigned k = 0; k < 16; ++k) {
        for (unsigned n = 0; n < 8; ++n) d[n] += a[k] * b[k][n];
      }
      return;
    case MmaRounding::kExact:
      for (unsigned n = 0; n < 8; ++n) {
        double sum = d[n];
        for (unsigned k = 0; k < 16; ++k) sum += double{a[k]} * double{b[k][n]};
        d[n] = static_cast<float>(sum);
      }
      return;
    case MmaRounding::kTruncating:
      for (unsigned n = 0; n < 8; ++n) d[n] = truncating_dot(a, b, n, d[n]);
      return;
  }
}

template <bool BFloat>
void complete_mma_16816(const WarpCall& call) {
  if (!whole_warp(call)) return;
  const float* halves = half_values().data();
  const auto value = [&](unsigned word, unsigned part) {
    const unsigned bits = word >> 16 * part & 0xffffu;
    return BFloat ? std::bit_cast<float>(bits << 16) : halves[bits];
  };
  std::array<ProductOperand, kWarpSize> of{};
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    of[lane] = *static_cast<const ProductOperand*>(call.warp.lanes[lane]->operand);
  Matrix<16, 16> a;
  Matrix<16, 8> b, d;
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned lane = row % 8 * 4 + k % 8 / 2, word = row / 8 + k / 8 * 2;
      a[row][k] = value(of[lane].a[word], k % 2);
    }
    for (unsigned n = 0; n < 8; ++n) d[row][n] = of[row % 8 * 4 + n / 2].c[row / 8 * 2 + n % 2];
  }
  for (unsigned k = 0; k < 16; ++k) {
    for (unsigned n = 0; n < 8; ++n) b[k][n] = value(of[n * 4 + k % 8 / 2].b[k / 8], k % 2);
  }
  for (unsigned row = 0; row < 16; ++row) multiply_row(a[row], b, d[row]);
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    for (unsigned i = 0; i < 4; ++i)
      static_cast<float*>(call.warp.lanes[lane]->result)[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
  ++launch_report().matrix_products;
}

struct IntegerOperand {
  const int* c;
  const unsigned* a;
  const unsigned* b;
};

void complete_mma_16832(const WarpCall& call) {
  if (!whole_warp(call)) return;
  const auto of = [&](unsigned lane) { return *static_cast<const IntegerOperand*>(call.warp.lanes[lane]->operand); };
  const auto value = [](unsigned word, unsigned part) { return static_cast<std::int8_t>(word >> 8 * part & 0xffu); };
  std::array<std::array<int, 8>, 16> d{};
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned n = 0; n < 8; ++n) {
      // Wraps as the instruction without .satfinite does.
      auto sum = static_cast<unsigned>(of(row % 8 * 4 + n / 2).c[row / 8 * 2 + n % 2]);
      for (unsigned k = 0; k < 32; ++k) {
        const int a = value(of(row % 8 * 4 + k % 16 / 4).a[row / 8 + k / 16 * 2], k % 4);
        const int b = value(of(n * 4 + k % 16 / 4).b[k / 16], k % 4);
        sum += static_cast<unsigned>(a * b);
      }
      d[row][n] = static_cast<int>(sum);
    }
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    for (unsigned i = 0; i < 4; ++i)
      static_cast<int*>(call.warp.lanes[lane]->result)[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
  ++launch_report().matrix_products;
}

}  // namespace

void ldmatrix(unsigned* registers, const void* row, unsigned matrices, bool transposed, const void* site) {
  const LoadOperand operand{row, matrices, transposed};
  const std::array<const char*, 5> names{"", "ldmatrix.x1", "ldmatrix.x2", "", "ldmatrix.x4"};
  const std::array<const char*, 5> trans{"", "ldmatrix.x1.trans", "ldmatrix.x2.trans", "", "ldmatrix.x4.trans"};
  join_collective((transposed ? trans : names)[matrices], kFullMask, &operand, registers, complete_ldmatrix, site);
}

void mma_16816(float* d, const unsigned* a, const unsigned* b, bool bfloat, const void* site) {
  const ProductOperand operand{d, a, b};
  join_collective(bfloat ? "mma.bf16" : "mma.f16", kFullMask, &operand, d,
                  bfloat ? complete_mma_16816<true> : complete_mma_16816<false>, site);
}

void mma_s8_16832(int* d, const unsigned* a, const unsigned* b, const void* site) {
  const IntegerOperand operand{d, a, b};
  join_collective("mma.s8", kFullMask, &operand, d, complete_mma_16832, site);
}

}  // namespace i2i::cuda_on_cpu
