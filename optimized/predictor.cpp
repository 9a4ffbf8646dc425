#include "optimized/predictor.h"

#include <ATen/ATen.h>

#include "optimized/captured.h"
#include "optimized/hand_out.h"

namespace i2i {
namespace {

ops::OptionalTensor where_defined(const at::Tensor& tensor) {
  return tensor.defined() ? ops::OptionalTensor(tensor) : std::nullopt;
}

}  // namespace

std::vector<UNetCall> make_calls(const OptimizedUNet& unet, const Features& features,
                                 const Conditioning& conditioning) {
  std::vector<UNetCall> calls;
  if (features.batched_guidance) {
    calls.push_back({conditioning, {}, {}});
  } else {
    for (std::int64_t row = 0; row < conditioning.embeds.size(0); ++row)
      calls.push_back({row_of(conditioning, row), {}, {}});
  }
  if (!features.cached_text_states) return calls;
  for (UNetCall& call : calls) call.text = unet.prepare_text(call.conditioning.embeds);
  return calls;
}

std::int64_t Predictor::Rows::copies(const Features& features) const {
  const bool alike = features.shared_layers && features.batched_guidance && !condition.defined() &&
                     !calls.at(0).conditioning.time_ids.defined();
  return alike ? count : 1;
}

Predictor::Predictor(Runtime& runtime, const OptimizedUNet& unet, CapturedWork* captured, const LoopPlan& plan,
                     Rows all, TraceSink* trace)
    : runtime_(runtime),
      unet_(unet),
      captured_(step_can_be_captured(runtime.features, plan, trace) ? captured : nullptr),
      plan_(plan),
      trace_(trace),
      all_(std::move(all)),
      conditional_row_(plan.action.guidance == GuidanceMode::kText ? 1 : 0) {}

at::Tensor Predictor::predict(std::size_t step, const at::Tensor& latents) {
  if (captured_ != nullptr) return predict_captured(step, latents);
  Rows& rows = rows_of(step);
  const std::int64_t copies = rows.copies(runtime_.features);
  at::Tensor unet_in = runtime_.buffers.image(rows.count / copies * latents.size(0), unet_.in_channels(),
                                              latents.size(2), latents.size(3));
  ops::unet_input(latents, where_defined(rows.condition), plan_.schedule.input_scale[step], unet_in);
  unet_in = settled(runtime_, unet_in);
  if (trace_ != nullptr) hand_out(trace_, "loop.unet_in", static_cast<int>(step), unet_in.repeat({copies, 1, 1, 1}));
  prepare_deep(step, rows.count);
  const at::Tensor noise_pred = evaluate(rows.calls, step, unet_in, copies);
  hand_out(trace_, "loop.unet_out", static_cast<int>(step), noise_pred);
  return noise_pred;
}

/// Steps without guidance evaluate the conditional row alone.
Predictor::Rows& Predictor::rows_of(std::size_t step) {
  if (plan_.work[step].guided || all_.count == 1) return all_;
  if (conditional_.count == 0) conditional_ = conditional_alone();
  return conditional_;
}

Predictor::Rows Predictor::conditional_alone() const {
  Rows alone;
  alone.count = 1;
  if (all_.condition.defined()) alone.condition = all_.condition.narrow(0, conditional_row_, 1);
  if (runtime_.features.batched_guidance) {
    alone.calls = make_calls(unet_, runtime_.features, row_of(all_.calls[0].conditioning, conditional_row_));
  } else {
    alone.calls = {all_.calls[static_cast<std::size_t>(conditional_row_)]};
  }
  return alone;
}

TimeBiases Predictor::time_of(UNetCall& call, std::size_t step) const {
  const bool cached = runtime_.features.cached_timesteps;
  if (call.time.empty() || !cached) {
    const Conditioning& of = call.conditioning;
    call.time = unet_.prepare_time(cached ? plan_.timesteps : std::vector{plan_.timesteps[step]}, of.pooled,
                                   of.time_ids, of.guidance_scale);
  }
  return biases_of(call.time, cached ? step : 0);
}

/// Readies deep features for a step: nothing where it evaluates everything, else those of its own rows.
/// @param rows  of the guidance batch, that the step evaluates
void Predictor::prepare_deep(std::size_t step, std::int64_t rows) {
  const StepSavings& savings = plan_.savings;
  if (savings.reuse_interval == 1) return;
  const bool batched = runtime_.features.batched_guidance;
  if (plan_.work[step].whole) {
    deep_.assign(batched ? 1 : static_cast<std::size_t>(rows),
                 {static_cast<std::size_t>(savings.reuse_depth), {}, rows});
    return;
  }
  // Where guidance has ended since, the conditional row's are what is needed of them.
  if (rows == deep_.front().rows) return;
  if (batched) {
    const std::int64_t images = deep_.front().hidden.size(0) / deep_.front().rows;
    deep_ = {{deep_.front().depth, deep_.front().hidden.narrow(0, conditional_row_ * images, images), 1}};
  } else {
    deep_ = {deep_[static_cast<std::size_t>(conditional_row_)]};
    deep_.front().rows = 1;
  }
}

at::Tensor Predictor::evaluate(std::vector<UNetCall>& calls, std::size_t step, const at::Tensor& unet_in,
                               std::int64_t copies) {
  const auto images = unet_in.size(0) / static_cast<std::int64_t>(calls.size());
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    UNetCall& call = calls[i];
    const TextKeyValues text =
        runtime_.features.cached_text_states ? call.text : unet_.prepare_text(call.conditioning.embeds);
    const at::Tensor sample = unet_in.narrow(0, static_cast<std::int64_t>(i) * images, images);
    parts.push_back(unet_(sample, text, time_of(call, step), deep_.empty() ? nullptr : &deep_[i], copies));
  }
  return parts.size() == 1 ? parts[0] : settled(runtime_, at::cat(parts));
}

at::Tensor Predictor::predict_captured(std::size_t step, const at::Tensor& latents) {
  CapturedWork::Tensors inputs = {latents * plan_.schedule.input_scale[step]};
  for (const at::Tensor& input : UNetWork::inputs(all_)) inputs.push_back(input);
  for (const at::Tensor& bias : time_of(all_.calls[0], step)) inputs.push_back(bias);
  const UNetWork unet(runtime_, unet_, all_);
  std::string key = "step " + unet.key();
  for (const at::Tensor& input : inputs) key += c10::str(input.sizes());
  const auto work = [unet](const CapturedWork::Tensors& held, const CapturedWork::Mark&) -> CapturedWork::Tensors {
    const Runtime& runtime = unet.runtime();
    Buffers own(runtime.features.reused_buffers, runtime.activation, runtime.device);
    const OtherBuffers other(unet.runtime().buffers, own);
    const at::ArrayRef<at::Tensor> all(held);
    return {unet(all[0], all.slice(1, unet.input_count()), all.slice(1 + unet.input_count()).vec())};
  };
  return captured_->run(key, inputs, work, work).outputs.at(0);
}

}  // namespace i2i
