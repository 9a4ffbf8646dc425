// One instruction set's kernels as a table.
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu {

#define I2I_CONCAT(a, b) a##b
#define I2I_TABLE(isa) I2I_CONCAT(kernels_, isa)
#define I2I_STRING_OF(x) #x
#define I2I_STRING(x) I2I_STRING_OF(x)

namespace {

#if defined(I2I_AMX)
constexpr std::int64_t kBf16DepthStep = 32, kBf16BlockRows = 192;  // with at least 2 MB of second-level cache
constexpr double kBf16Gain = 8;
#elif defined(__AVX512BF16__)
constexpr std::int64_t kBf16DepthStep = 2, kBf16BlockRows = 96;
constexpr double kBf16Gain = 1.8;
#else
constexpr std::int64_t kBf16DepthStep = 2, kBf16BlockRows = 96;
constexpr double kBf16Gain = 1;
#endif

#if defined(I2I_AMX)
constexpr double kInt8Gain = 16;
#elif defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr double kInt8Gain = 4;
#elif defined(__AVX2__) && !defined(__AVX512F__)
constexpr double kInt8Gain = 1.5;
#else
constexpr double kInt8Gain = 1;
#endif

}  // namespace

const Kernels& I2I_TABLE(I2I_ISA)() {
  using namespace I2I_ISA;
  static constexpr Kernels kTable{I2I_STRING(I2I_ISA),
                                  kBf16DepthStep,
                                  kBf16BlockRows,
                                  kBf16Gain,
                                  kInt8Gain,
                                  product,
                                  finish,
                                  group_norm_sums,
                                  group_norm_factors,
                                  group_norm_normalise,
                                  layer_norm,
                                  attention,
                                  pack_transposed,
                                  pack_rows,
                                  guided_step,
                                  winograd_input,
                                  winograd_output,
                                  winograd_weights,
                                  quantize_rows,
                                  int8_product,
                                  int8_attention,
                                  pack_int8_keys,
                                  pack_int8_values,
                                  int8_winograd_input,
                                  int8_winograd_output,
                                  bf16_rows,
                                  bf16_product,
                                  bf16_taps,
                                  bf16_attention,
                                  pack_bf16_keys,
                                  pack_bf16_values,
                                  multiply_add_chains,
                                  int8_dot_chains,
                                  bf16_dot_chains,
                                  read_memory};
  return kTable;
}

}  // namespace i2i::cpu
