#include "optimized/captured.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

namespace i2i {
namespace {

/// What decides which tensors a row reads and writes; its numbers are none of it.
std::string structure_of(const StepRow& row) {
  std::string text = "/";
  if (row.draws_noise) text += "n";
  if (row.remembers) text += "r";
  if (row.remembers_noise) text += "m";
  for (std::size_t k = 0; k < kHistoryDepth; ++k) {
    if (row.history[k] != 0) text += std::to_string(k);
  }
  return text;
}

/// The loop's inputs lie so: latents, UNetWork's, scalars, input scales, noise where any row draws, the time table.
class LoopWork {
 public:
  LoopWork(UNetWork unet, const StepSchedule& schedule, bool has_noise)
      : unet_(std::move(unet)), schedule_(std::make_shared<const StepSchedule>(schedule)), has_noise_(has_noise) {}

  /// @param evaluations  of the UNet; steps after them take the last one's result
  CapturedWork::Tensors operator()(const CapturedWork::Tensors& inputs, const CapturedWork::Mark& mark,
                                   std::size_t evaluations) const {
    const at::ArrayRef<at::Tensor> all(inputs);
    const at::ArrayRef<at::Tensor> of_unet = all.slice(1, unet_.input_count());
    std::size_t next = 1 + of_unet.size();
    const at::Tensor &scalars = all[next++], &input_scales = all[next++];
    const at::Tensor noise = has_noise_ ? all[next++] : at::Tensor();
    const TimeTable table = all.slice(next).vec();

    Runtime& runtime = unet_.runtime();
    Buffers own(runtime.features.reused_buffers, runtime.activation, runtime.device);
    const OtherBuffers other(runtime.buffers, own);
    Stepper stepper(*schedule_, runtime.features, {}, scalars);
    at::Tensor latents = inputs[0], noise_pred;
    std::vector<at::Tensor> not_finite;
    std::int64_t draws = 0;
    mark();
    for (std::size_t i = 0; i < schedule_->rows.size(); ++i) {
      if (i < evaluations) {
        const at::Tensor scaled = latents * input_scales.select(0, static_cast<std::int64_t>(i));
        noise_pred = unet_(scaled, of_unet, biases_of(table, i));
      }
      mark();
      const at::Tensor drawn = schedule_->rows[i].draws_noise ? noise.select(0, draws++) : at::Tensor();
      latents = stepper.step(i, noise_pred, latents, drawn, {});
      not_finite.push_back(at::isfinite(latents).logical_not().sum());
      mark();
    }
    return {latents, at::stack(not_finite)};
  }

  std::string key() const {
    std::string text = "loop " + unet_.key();
    for (const StepRow& row : schedule_->rows) text += structure_of(row);
    return text;
  }

 private:
  UNetWork unet_;
  std::shared_ptr<const StepSchedule> schedule_;  ///< only its structure: the stepper's numbers are an input
  bool has_noise_;
};

}  // namespace

UNetWork::UNetWork(Runtime& runtime, const OptimizedUNet& unet, const Predictor::Rows& rows)
    : runtime_(&runtime),
      unet_(&unet),
      rows_(rows.count),
      copies_(rows.copies(runtime.features)),
      has_condition_(rows.condition.defined()) {
  for (const KeyValue& block : rows.calls.at(0).text) keys_.push_back(block.keys);
}

CapturedWork::Tensors UNetWork::inputs(const Predictor::Rows& rows) {
  CapturedWork::Tensors inputs;
  if (rows.condition.defined()) inputs.push_back(rows.condition);
  for (const KeyValue& block : rows.calls.at(0).text) inputs.push_back(block.tensor);
  return inputs;
}

at::Tensor UNetWork::operator()(const at::Tensor& scaled, at::ArrayRef<at::Tensor> inputs,
                                const TimeBiases& time) const {
  at::Tensor unet_in =
      runtime_->buffers.image(rows_ / copies_ * scaled.size(0), unet_->in_channels(), scaled.size(2), scaled.size(3));
  std::size_t next = 0;
  const ops::OptionalTensor condition = has_condition_ ? ops::OptionalTensor(inputs[next++]) : std::nullopt;
  ops::unet_input(scaled, condition, 1.0, unet_in);
  TextKeyValues text;
  for (const std::int64_t keys : keys_) text.push_back({inputs[next++], keys});
  return (*unet_)(settled(*runtime_, unet_in), text, time, nullptr, copies_);
}

std::string UNetWork::key() const { return fmt::format("{} rows, keys {}", rows_, fmt::join(keys_, " ")); }

bool step_can_be_captured(const Features& features, const LoopPlan& plan, const TraceSink* trace) {
  return features.captured_steps && features.batched_guidance && features.cached_text_states &&
         features.cached_timesteps && !plan.savings.any() && trace == nullptr;
}

bool loop_can_be_captured(const Features& features, const LoopPlan& plan, const GenerateOptions& options) {
  return features.captured_loop && features.fused_guided_step && options.guidance_rescale == 0 &&
         !options.locked_latents.defined() && step_can_be_captured(features, plan, options.trace);
}

CapturedLoop run_captured_loop(CapturedWork& captured, Runtime& runtime, const OptimizedUNet& unet,
                               const LoopPlan& plan, const Guidance& guidance, const Predictor::Rows& rows,
                               const at::Tensor& latents, const at::Tensor& noise) {
  const Conditioning& conditioning = rows.calls.at(0).conditioning;
  CapturedWork::Tensors inputs = {latents};
  for (const at::Tensor& input : UNetWork::inputs(rows)) inputs.push_back(input);
  inputs.push_back(runtime.uploaded(step_scalars(plan.schedule, guidance)));
  inputs.push_back(runtime.uploaded(at::tensor(plan.schedule.input_scale, at::kFloat)));
  if (noise.defined()) inputs.push_back(noise);
  for (const at::Tensor& resnet :
       unet.prepare_time(plan.timesteps, conditioning.pooled, conditioning.time_ids, conditioning.guidance_scale))
    inputs.push_back(resnet);
  const LoopWork work(UNetWork(runtime, unet, rows), plan.schedule, noise.defined());
  std::string key = work.key();
  for (const at::Tensor& input : inputs) key += c10::str(input.sizes());
  const auto all = [work](const CapturedWork::Tensors& held, const CapturedWork::Mark& mark) {
    return work(held, mark, SIZE_MAX);
  };
  const auto warm_up = [work](const CapturedWork::Tensors& held, const CapturedWork::Mark& mark) {
    return work(held, mark, 1);
  };
  CapturedWork::Done done = captured.run(key, inputs, all, warm_up);
  return {done.outputs.at(0), done.outputs.at(1), std::move(done.marks)};
}

}  // namespace i2i
