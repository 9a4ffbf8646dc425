#include "optimized/stepper.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "optimized/ops.h"

namespace i2i {

namespace {

/// Guidance, then each image's deviation brought back towards the conditional one's (Lin et al. 2023, arXiv:2305.08891,
/// eq. 14 to 16). @param noise_pred [RB,4,h,w]  @return [B,4,h,w]
at::Tensor guided_of(const at::Tensor& noise_pred, std::int64_t batch, const Guidance& guidance) {
  const auto rows = noise_pred.to(at::kFloat).contiguous().chunk(noise_pred.size(0) / batch);
  if (rows.size() == 1) return rows[0];
  const at::Tensor& conditional = rows.size() == 2 ? rows[1] : rows[0];
  at::Tensor guided = rows.size() == 2 ? rows[0] + guidance.guidance_scale * (rows[1] - rows[0])
                                       : rows[2] + guidance.guidance_scale * (rows[0] - rows[1]) +
                                             guidance.image_guidance_scale * (rows[1] - rows[2]);
  if (guidance.guidance_rescale == 0) return guided;
  const at::Tensor ratio = conditional.std({1, 2, 3}, true, true) / guided.std({1, 2, 3}, true, true);
  return guided * (guidance.guidance_rescale * ratio + (1 - guidance.guidance_rescale));
}

}  // namespace

at::Tensor step_scalars(const StepSchedule& schedule, const Guidance& guidance) {
  std::vector<float> scalars;
  const auto add = [&](double value) { scalars.push_back(static_cast<float>(value)); };
  for (const StepRow& row : schedule.rows) {
    add(row.sample);
    add(row.noise_pred);
    add(row.noise);
    std::size_t reads = 0;
    for (const double factor : row.history) {
      if (factor == 0) continue;
      add(factor);
      ++reads;
    }
    for (; reads < kHistoryReads; ++reads) add(0);
    add(row.remember_sample);
    add(row.remember_noise_pred);
    add(guidance.guidance_scale);
    add(guidance.image_guidance_scale);
  }
  return at::tensor(scalars, at::kFloat).view({-1, ops::kGuidedStepScalars});
}

Stepper::Stepper(const StepSchedule& schedule, const Features& features, const Guidance& guidance, at::Tensor scalars)
    : schedule_(schedule), fused_(features.fused_guided_step), guidance_(guidance), scalars_(std::move(scalars)) {
  for (const StepRow& row : schedule.rows) {
    for (std::size_t k = 0; k < kHistoryDepth; ++k) {
      if (row.history[k] != 0) depth_ = std::max(depth_, k + 1);
    }
  }
}

at::Tensor Stepper::step(std::size_t i, const at::Tensor& noise_pred, const at::Tensor& sample, const at::Tensor& noise,
                         const at::Tensor& guided) {
  const StepRow& row = schedule_.rows[i];
  // Rescaling needs the deviation of the whole picture before the first element can be stepped.
  const bool apart = guidance_.guidance_rescale != 0 && noise_pred.size(0) > sample.size(0);
  const at::Tensor one_row = apart ? guided_of(noise_pred, sample.size(0), guidance_) : noise_pred;
  at::Tensor prev_sample =
      fused_ ? fused_step(i, row, one_row, sample, noise, guided) : plain_step(row, one_row, sample, noise, guided);
  if (row.remembers_noise) remember(noise.clone());  // its memory may be written again
  return prev_sample;
}

at::Tensor Stepper::fused_step(std::size_t i, const StepRow& row, const at::Tensor& noise_pred,
                               const at::Tensor& sample, const at::Tensor& noise, const at::Tensor& guided) {
  c10::List<ops::OptionalTensor> history;  // only what is read, in the order of scalars_
  for (std::size_t k = 0; k < history_.size(); ++k) {
    if (row.history[k] != 0) history.push_back(history_[k]);
  }
  at::Tensor prev_sample = spare_sample(sample);
  ops::OptionalTensor remembered;
  if (row.remembers) {
    const bool oldest_is_free = depth_ > 0 && history_.size() == depth_ && row.history[depth_ - 1] == 0;
    remembered = oldest_is_free ? history_.back() : at::empty_like(sample);
  }
  ops::guided_step(noise_pred, sample, row.draws_noise ? ops::OptionalTensor(noise) : std::nullopt, history,
                   scalars_.select(0, static_cast<std::int64_t>(i)), prev_sample, remembered,
                   guided.defined() ? ops::OptionalTensor(guided) : std::nullopt);
  if (row.remembers) remember(*remembered);
  return prev_sample;
}

at::Tensor Stepper::plain_step(const StepRow& row, const at::Tensor& noise_pred, const at::Tensor& sample,
                               const at::Tensor& noise, const at::Tensor& guided) {
  const at::Tensor m =
      guided_of(noise_pred, sample.size(0), {guidance_.guidance_scale, guidance_.image_guidance_scale, 0});
  if (guided.defined()) guided.copy_(m);
  at::Tensor prev_sample = row.sample * sample + row.noise_pred * m;
  if (row.draws_noise) prev_sample = prev_sample + row.noise * noise;
  for (std::size_t k = 0; k < history_.size(); ++k) {
    if (row.history[k] != 0) prev_sample = prev_sample + row.history[k] * history_[k];
  }
  if (row.remembers) remember(row.remember_sample * sample + row.remember_noise_pred * m);
  return prev_sample;
}

/// Two memories take turns, so that a step never writes what it reads.
at::Tensor Stepper::spare_sample(const at::Tensor& sample) {
  for (at::Tensor& candidate : samples_) {
    if (!candidate.defined()) candidate = at::empty_like(sample);
    if (candidate.data_ptr() != sample.data_ptr()) return candidate;
  }
  return at::empty_like(sample);
}

void Stepper::remember(const at::Tensor& tensor) {
  history_.insert(history_.begin(), tensor);
  if (history_.size() > depth_) history_.pop_back();
}

}  // namespace i2i
