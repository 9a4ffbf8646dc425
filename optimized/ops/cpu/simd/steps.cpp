// Guidance and scheduler step, one pass over the latents.
#include "optimized/ops/cpu/simd/vector.h"

namespace i2i::cpu::I2I_ISA {
namespace {

/// Classifier-free guidance of one vector (Ho & Salimans 2022, arXiv:2207.12598; three rows: Brooks et al. 2023, eq.
/// 3).
template <int Rows>
Vector guide(const GuidedStepBlock& block, std::int64_t i, std::int64_t count) {
  Vector row[Rows];
  for (int r = 0; r < Rows; ++r) {
    const float* p = block.noise_pred + r * block.noise_pred_stride + i;
    row[r] = count == kWidth ? load(p) : load_some(p, count);
  }
  if constexpr (Rows == 1) return row[0];
  if constexpr (Rows == 2) return row[0] + block.guidance_scale * (row[1] - row[0]);
  if constexpr (Rows == 3) {
    return row[2] + block.guidance_scale * (row[0] - row[1]) + block.image_guidance_scale * (row[1] - row[2]);
  }
}

template <int Rows>
void step(const GuidedStepBlock& block) {
  for (std::int64_t i = 0; i < block.count; i += kWidth) {
    const std::int64_t count = block.count - i < kWidth ? block.count - i : kWidth;
    const auto read = [&](const float* p) { return count == kWidth ? load(p + i) : load_some(p + i, count); };
    const auto write = [&](float* p, Vector v) { count == kWidth ? store(p + i, v) : store_some(p + i, v, count); };
    const Vector guided = guide<Rows>(block, i, count);
    const Vector sample = read(block.sample);
    Vector prev_sample = block.row.sample * sample + block.row.noise_pred * guided;
    if (block.noise != nullptr) prev_sample += block.row.noise * read(block.noise);
    for (int k = 0; k < 3; ++k) {
      if (block.history[k] != nullptr) prev_sample += block.row.history[k] * read(block.history[k]);
    }
    if (block.remembered != nullptr) {
      write(block.remembered, block.row.remember_sample * sample + block.row.remember_noise_pred * guided);
    }
    if (block.guided != nullptr) write(block.guided, guided);
    write(block.prev_sample, prev_sample);
  }
}

}  // namespace

void guided_step(const GuidedStepBlock& block) {
  if (block.rows == 1) return step<1>(block);
  if (block.rows == 2) return step<2>(block);
  step<3>(block);
}

}  // namespace i2i::cpu::I2I_ISA
