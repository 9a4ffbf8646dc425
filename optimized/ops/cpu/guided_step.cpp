// Guidance and one linear scheduler step in one pass. The noise prediction is the UNet's channels-last output;
// everything else is NCHW, so it is turned first: 4 channels of latents, a few kilobytes.
#include "optimized/ops/cpu/kernels.h"
#include "optimized/ops/cpu/register.h"
#include "optimized/ops/cpu/rows.h"

namespace i2i::cpu {

void guided_step(const at::Tensor& noise_pred, const at::Tensor& sample, const OptionalTensor& noise,
                 const c10::List<OptionalTensor>& history, const at::Tensor& row, const at::Tensor& prev_sample,
                 const OptionalTensor& remembered, const OptionalTensor& guided) {
  const std::int64_t count = sample.numel(), rows = noise_pred.numel() / count;
  TORCH_CHECK(rows >= 1 && rows <= 3 && noise_pred.numel() == rows * count && noise_pred.scalar_type() == at::kFloat,
              "guided_step: noise_pred ", noise_pred.sizes(), " for sample ", sample.sizes());
  TORCH_CHECK(row.numel() == ops::kGuidedStepScalars && history.size() <= 3, "guided_step: row ", row.sizes(), ", ",
              history.size(), " histories");
  GuidedStepBlock block;
  if (noise_pred.is_contiguous()) {
    block.noise_pred = static_cast<const float*>(noise_pred.const_data_ptr());
  } else {
    const Rows x = rows_of(noise_pred, "guided_step noise_pred");
    const std::int64_t pixels = x.count / x.images;
    float* turned = thread_scratch(2, x.count * x.width);
    for (std::int64_t image = 0; image < x.images; ++image) {
      for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t c = 0; c < x.width; ++c) {
          turned[(image * x.width + c) * pixels + p] = x.data[(image * pixels + p) * x.width + c];
        }
      }
    }
    block.noise_pred = turned;
  }
  block.noise_pred_stride = count;
  block.rows = static_cast<int>(rows);
  block.sample = optional_floats(sample, count, "guided_step sample");
  block.noise = optional_floats(noise, count, "guided_step noise");
  const float* scalars = optional_floats(row, ops::kGuidedStepScalars, "guided_step row");
  block.row = {scalars[0], scalars[1], scalars[2], {scalars[3], scalars[4], scalars[5]}, scalars[6], scalars[7]};
  block.guidance_scale = scalars[8];
  block.image_guidance_scale = scalars[9];
  for (std::size_t k = 0; k < history.size(); ++k) {
    block.history[k] = optional_floats(history.get(k), count, "guided_step history");
  }
  block.prev_sample = const_cast<float*>(optional_floats(prev_sample, count, "guided_step prev_sample"));
  block.remembered = const_cast<float*>(optional_floats(remembered, count, "guided_step remembered"));
  block.guided = const_cast<float*>(optional_floats(guided, count, "guided_step guided"));
  block.count = count;
  kernels().guided_step(block);
}

}  // namespace i2i::cpu
