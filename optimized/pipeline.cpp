#include "optimized/pipeline.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <new>
#include <optional>
#include <set>

#include "interface/error.h"
#include "interface/int8_file.h"
#include "interface/source_image.h"
#include "interface/stage_clock.h"
#include "optimized/cuda/backend.h"
#include "optimized/step_coefficients.h"
#include "optimized/step_plan.h"
#include "optimized/stepper.h"
#include "optimized/text_encoder.h"
#include "optimized/unet.h"
#include "optimized/vae.h"

namespace i2i {
namespace {

/// Prompts as the UNet receives them, one row per guidance pass.
struct Conditioning {
  at::Tensor embeds;                      ///< [R,T,D]
  at::Tensor pooled;                      ///< [R,P], SDXL only
  at::Tensor time_ids;                    ///< [R,6], SDXL only; [R,5] for its refiner
  double guidance_scale = 1;              ///< for a UNet that embeds it
  std::vector<TextKeyValues> key_values;  ///< one for all rows, or one per row; empty where they are made in each step
};

/// The rows of the guidance batch that a step evaluates: all, or the conditional one alone.
struct LoopRows {
  Conditioning conditioning;
  at::Tensor condition;  ///< the source's channels, where the UNet takes them
  int rows = 0;
  std::vector<std::vector<TimeBiases>> time;  ///< per UNet call, per step; empty where they are made in each step
};

struct Encoded {
  at::Tensor mean, logvar;  ///< [1,4,h,w], unscaled
};

int rows_of(GuidanceMode mode) { return mode == GuidanceMode::kNone ? 1 : mode == GuidanceMode::kText ? 2 : 3; }

/// @throws Error(kGenerationFailed) naming the stage
void check_finite(const at::Tensor& tensor, const std::string& stage) {
  const at::Tensor values =
      tensor.is_contiguous() || tensor.is_contiguous(at::MemoryFormat::ChannelsLast) ? tensor : tensor.contiguous();
  const auto* data = static_cast<const float*>(values.const_data_ptr());
  float sum = 0;  // x * 0 is 0 for every finite x and NaN for all others
  for (std::int64_t i = 0; i < values.numel(); ++i) sum += data[i] * 0.0f;
  if (sum == 0.0f) return;
  const std::int64_t bad = values.numel() - at::isfinite(values).sum().item<std::int64_t>();
  throw Error(ErrorCode::kGenerationFailed,
              fmt::format("{}: {} of {} values are NaN or infinite", stage, bad, values.numel()));
}

/// The noise of all steps that draw, in their order, in one transfer.
template <typename Draw>
void upload_noises(const std::vector<StepRow>& rows, const Draw& draw, at::Device device,
                   std::vector<at::Tensor>& noises) {
  std::vector<at::Tensor> drawn;
  for (const StepRow& row : rows) {
    if (row.draws_noise) drawn.push_back(draw(row));
  }
  if (drawn.empty()) return;
  const at::Tensor all = at::stack(drawn).to(device);
  std::int64_t next = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].draws_noise) noises[i] = all.select(0, next++);
  }
}

/// What is computed once per request on a GPU: plain fp32 operators. Text encoders are a few milliseconds there, and
/// their rounding would be in every step.
Features plain_features() {
  std::map<std::string, bool> none;
  for (const FeatureDescription& feature : known_features()) none[feature.name] = false;
  return make_features(none);
}

Runtime make_runtime(const PipelineOptions& options, CudaBackend* backend) {
  const Features features = make_features(options.features);
  return backend == nullptr ? Runtime(features, options.dtype) : Runtime(features, options.dtype, backend->device());
}

Runtime make_text_runtime(const Features& features, CudaBackend* backend) {
  return backend == nullptr ? Runtime(features, at::kFloat) : Runtime(plain_features(), at::kFloat, backend->device());
}

/// Activations of some VAEs outgrow fp16: SDXL's (its config's force_upcast says so), and others that say it.
bool vae_needs_bf16(const Model& model, const PipelineOptions& options, const CudaBackend* backend) {
  return backend != nullptr && options.dtype == at::kHalf && (model.config.is_sdxl() || model.config.vae.force_upcast);
}

class OptimizedPipeline final : public Pipeline {
 public:
  /// @param backend  of CUDA's kernels; null on a CPU
  /// @param int8     null: with the feature int8 the layers that the model's calibration allows
  OptimizedPipeline(std::shared_ptr<const Model> model, const PipelineOptions& options, CudaBackend* backend,
                    std::shared_ptr<Int8Layers> int8 = nullptr)
      : model_(std::move(model)),
        backend_(backend),
        device_(backend == nullptr ? at::Device(at::kCPU) : backend->device()),
        runtime_(make_runtime(options, backend)),
        text_runtime_(make_text_runtime(runtime_.features, backend)),
        int8_(enter_int8(options, std::move(int8))),
        unet_(runtime_, backend == nullptr ? runtime_ : text_runtime_, model_->config.unet, model_->unet_weights) {
    if (vae_needs_bf16(*model_, options, backend))
      vae_runtime_ = std::make_unique<Runtime>(runtime_.features, at::kBFloat16, device_);
    vae_ = std::make_unique<OptimizedVae>(vae_runtime(), backend == nullptr ? runtime_ : text_runtime_,
                                          model_->config.vae, model_->vae_weights);
    if (backend_ != nullptr) captured_ = backend_->make_captured_work(kCapturedShapes);
    for (std::size_t i = 0; i < model_->config.text_encoders.size(); ++i) {
      text_encoders_.emplace_back(text_runtime_, model_->config.text_encoders[i], model_->text_encoder_weights[i]);
    }
    if (int8_ == nullptr) return;
    const std::vector<std::string> unknown = int8_->unknown();
    if (!unknown.empty()) {
      throw Error(ErrorCode::kUsage, fmt::format("int8.json keeps {} in fp32, and the model has no such layer of {} or "
                                                 "more channels",
                                                 fmt::join(unknown, ", "), kLeastInt8Channels));
    }
  }

  Result generate(const Request& request, const Image& source, const GenerateOptions& options) override;

 private:
  static constexpr std::size_t kCapturedShapes = 4;

  Result run(const Request& request, const Image& source, const GenerateOptions& options);
  std::shared_ptr<Int8Layers> enter_int8(const PipelineOptions& options, std::shared_ptr<Int8Layers> layers);
  const Features& features() const { return runtime_.features; }
  Runtime& vae_runtime() { return vae_runtime_ != nullptr ? *vae_runtime_ : runtime_; }
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.to(device_); }
  void check_finite_later(const at::Tensor& tensor, const std::string& stage);
  void check_finite_now();
  void note_substitutes(const std::map<std::string, std::int64_t>& before, std::vector<std::string>& warnings);

  /// timed_stage, by the device's clock where there is one.
  template <typename Body>
  auto timed(std::vector<StageTime>& stages, const char* name, int step, const Body& body) {
    if (backend_ == nullptr) return timed_stage(stages, name, step, body);
    const int from = backend_->mark();
    auto result = timed_stage(stages, name, step, body);
    marks_.push_back({stages.size() - 1, from, backend_->mark()});
    return result;
  }
  void read_marks(std::vector<StageTime>& stages);
  Error out_of_memory(const std::string& wanted);
  at::Tensor preprocess(const Image& source, const ActionPlan& plan);
  Conditioning encode_prompt(const Request& request, const ActionPlan& plan, TraceSink* trace);
  Encoded encode_source(const at::Tensor& pixels);
  at::Tensor scaled_sample(const Encoded& encoded, const at::Tensor& draw) const;
  at::Tensor image_condition(const Encoded& encoded, GuidanceMode mode) const;
  Conditioning row_of(const Conditioning& all, std::int64_t row) const;
  void prepare_text(Conditioning& conditioning) const;
  at::Tensor predict(const at::Tensor& unet_in, const Conditioning& conditioning, const std::vector<TimeBiases>& time,
                     std::vector<DeepFeatures>& deep);
  std::vector<std::vector<TimeBiases>> prepare_time(const std::vector<double>& timesteps,
                                                    const Conditioning& conditioning) const;
  void prepare_deep(std::vector<DeepFeatures>& deep, const StepWork& work, const StepSavings& savings,
                    std::int64_t rows, std::int64_t conditional_row) const;
  at::Tensor predict_captured(const at::Tensor& latents, double input_scale, const at::Tensor& condition,
                              const Conditioning& conditioning, const TimeBiases& time);
  at::Tensor unscaled(const at::Tensor& latents) const;
  at::Tensor postprocess(const at::Tensor& sample);
  void keep_buffers_for(const ActionPlan& plan, int batch_size);

  std::shared_ptr<const Model> model_;
  CudaBackend* backend_;
  at::Device device_;
  Runtime runtime_, text_runtime_;
  std::unique_ptr<Runtime> vae_runtime_;  ///< where it differs from runtime_
  std::shared_ptr<Int8Layers> int8_;      ///< what runtime_ points at; text encoders stay fp32
  OptimizedUNet unet_;
  std::unique_ptr<OptimizedVae> vae_;
  std::vector<OptimizedTextEncoder> text_encoders_;
  std::unique_ptr<CapturedWork> captured_;
  std::vector<std::int64_t> buffers_size_;
  struct Marks {
    std::size_t stage;
    int from, to;
  };
  std::vector<Marks> marks_;
  std::set<std::string> substituted_;
  std::vector<std::pair<std::string, at::Tensor>> unchecked_;  ///< stages whose finiteness the device has yet to tell
};

/// On a CPU at once; otherwise all together where the host waits for the device anyway.
void OptimizedPipeline::check_finite_later(const at::Tensor& tensor, const std::string& stage) {
  if (backend_ == nullptr) {
    check_finite(tensor, stage);
  } else {
    unchecked_.emplace_back(stage, at::isfinite(tensor).logical_not().sum());
  }
}

void OptimizedPipeline::check_finite_now() {
  if (unchecked_.empty()) return;
  std::vector<at::Tensor> counts;
  for (const auto& [stage, count] : unchecked_) counts.push_back(count);
  const at::Tensor bad = at::stack(counts).cpu();
  for (std::size_t i = 0; i < unchecked_.size(); ++i) {
    if (const auto count = bad[static_cast<std::int64_t>(i)].item<std::int64_t>(); count > 0) {
      const std::string stage = unchecked_[i].first;
      unchecked_.clear();
      throw Error(ErrorCode::kGenerationFailed, fmt::format("{}: {} values are NaN or infinite", stage, count));
    }
  }
  unchecked_.clear();
}

/// A kernel that has not the model's shape is replaced, and that is said. A replayed graph calls no operator, so what
/// earlier requests met counts too.
void OptimizedPipeline::note_substitutes(const std::map<std::string, std::int64_t>& before,
                                         std::vector<std::string>& warnings) {
  if (backend_ == nullptr) return;
  for (const auto& [what, calls] : backend_->substitutes()) {
    const auto known = before.find(what);
    if (known == before.end() || calls > known->second) substituted_.insert(what);
  }
  for (const std::string& what : substituted_)
    warnings.push_back(fmt::format("no CUDA kernel has the shape of {}: ATen computes it", what));
}

/// The device's own time, read where the host has waited for it anyway.
void OptimizedPipeline::read_marks(std::vector<StageTime>& stages) {
  for (const auto& [stage, from, to] : marks_) stages[stage].ms = backend_->milliseconds_between(from, to);
  marks_.clear();
  backend_->forget_marks();
}

/// Lets go of everything that a request leaves behind, so that the next one may be smaller and run.
Error OptimizedPipeline::out_of_memory(const std::string& wanted) {
  std::string there;
  if (backend_ != nullptr) {
    const DeviceMemory memory = backend_->memory();
    there = fmt::format(" ({} of {} MiB were free)", memory.free_bytes >> 20, memory.total_bytes >> 20);
    captured_ = backend_->make_captured_work(kCapturedShapes);
  }
  for (Runtime* runtime : {&runtime_, &text_runtime_, &vae_runtime()}) runtime->buffers.clear();
  buffers_size_.clear();
  unchecked_.clear();
  if (backend_ != nullptr) backend_->release_cached_memory();
  return {ErrorCode::kGenerationFailed, fmt::format("out of memory{}{}", there, wanted)};
}

std::shared_ptr<Int8Layers> OptimizedPipeline::enter_int8(const PipelineOptions& options,
                                                          std::shared_ptr<Int8Layers> layers) {
  if (layers == nullptr && features().int8) {
    if (!features().packed_weights || options.dtype != at::kFloat) {
      throw Error(ErrorCode::kUsage, "the feature int8 needs packed_weights and dtype fp32");
    }
    const std::vector<std::string> kept = layers_in_fp32(model_->config.name);
    layers = std::make_shared<Int8Layers>(std::set<std::string>(kept.begin(), kept.end()));
  }
  runtime_.int8 = layers.get();
  return layers;
}

at::Tensor OptimizedPipeline::preprocess(const Image& source, const ActionPlan& plan) {
  Image resized;
  const bool fits = source.width == plan.width && source.height == plan.height;
  if (!fits) resized = resize_lanczos(source, plan.width, plan.height);
  const Image& image = fits ? source : resized;
  const at::Tensor rgb =
      on_device(at::from_blob(const_cast<std::uint8_t*>(image.rgb.data()), {image.height, image.width, 3}, at::kByte));
  Runtime& runtime = vae_runtime();
  if (!features().fused_pixels) {
    const at::Tensor sample = 2.0 * (rgb.to(at::kFloat) / 255.0).permute({2, 0, 1}).unsqueeze(0) - 1.0;
    return settled(runtime, sample.to(runtime.activation));
  }
  at::Tensor sample = runtime.buffers.image(1, 3, image.height, image.width);
  ops::pixels_to_sample(rgb, sample);
  return settled(runtime, sample);
}

Conditioning OptimizedPipeline::encode_prompt(const Request& request, const ActionPlan& plan, TraceSink* trace) {
  const ModelConfig& config = model_->config;
  const bool guided = plan.guidance != GuidanceMode::kNone;
  const std::string second = request.prompt_2 && !request.prompt_2->empty() ? *request.prompt_2 : request.prompt;
  std::vector<TextStates> states;
  for (std::size_t i = 0; i < text_encoders_.size(); ++i) {
    const Tokenizer& tokenizer = model_->tokenizers[i];
    std::vector<std::int64_t> ids;
    if (guided) ids = tokenizer.encode(request.negative_prompt);
    const auto positive = tokenizer.encode(i == 0 ? request.prompt : second);
    ids.insert(ids.end(), positive.begin(), positive.end());
    const at::Tensor rows = at::tensor(ids, at::kLong).view({guided ? 2 : 1, -1});
    if (trace != nullptr) trace->tensor(fmt::format("text.ids.{}", i), -1, rows);
    states.push_back(text_encoders_[i](rows));
  }
  Conditioning conditioning;
  conditioning.guidance_scale = request.guidance_scale;
  if (config.is_sdxl()) {
    std::vector<at::Tensor> hidden;  // one encoder in the refiner, otherwise two
    for (const TextStates& encoder : states) hidden.push_back(encoder.penultimate_hidden);
    conditioning.embeds = at::cat(hidden, -1);
    conditioning.pooled = states.back().pooled;
  } else {
    conditioning.embeds = states[0].last_hidden;
  }
  if (plan.guidance == GuidanceMode::kTextAndImage) {  // [negative, positive] -> [positive, negative, negative]
    const at::Tensor order = on_device(at::tensor({1, 0, 0}, at::kLong));
    conditioning.embeds = conditioning.embeds.index_select(0, order);
    if (conditioning.pooled.defined()) conditioning.pooled = conditioning.pooled.index_select(0, order);
  }
  if (config.is_sdxl()) {
    const double height = plan.height, width = plan.width;
    conditioning.time_ids =
        at::tensor({height, width, 0.0, 0.0, height, width}, at::kFloat).repeat({rows_of(plan.guidance), 1});
    if (config.requires_aesthetics_score) {  // the scores that diffusers gives positive and negative prompts
      conditioning.time_ids = conditioning.time_ids.narrow(1, 0, 5).contiguous();
      conditioning.time_ids.select(1, 4).fill_(6.0);
      if (plan.guidance == GuidanceMode::kText) conditioning.time_ids[0][4] = 2.5;
    }
  }
  check_finite_later(conditioning.embeds, "encode_prompt");
  if (trace != nullptr) {
    trace->tensor("text.embeds", -1, conditioning.embeds.cpu().clone());
    if (conditioning.pooled.defined()) trace->tensor("text.pooled", -1, conditioning.pooled.cpu().clone());
  }
  prepare_text(conditioning);
  return conditioning;
}

void OptimizedPipeline::prepare_text(Conditioning& conditioning) const {
  if (!features().cached_text_states) return;
  if (features().batched_guidance) {
    conditioning.key_values.push_back(unet_.prepare_text(conditioning.embeds));
    return;
  }
  for (std::int64_t row = 0; row < conditioning.embeds.size(0); ++row) {
    conditioning.key_values.push_back(unet_.prepare_text(conditioning.embeds.narrow(0, row, 1)));
  }
}

/// One row of the guidance batch as a batch of its own.
Conditioning OptimizedPipeline::row_of(const Conditioning& all, std::int64_t row) const {
  Conditioning one;
  one.embeds = all.embeds.narrow(0, row, 1);
  if (all.pooled.defined()) one.pooled = all.pooled.narrow(0, row, 1);
  if (all.time_ids.defined()) one.time_ids = all.time_ids.narrow(0, row, 1);
  one.guidance_scale = all.guidance_scale;
  prepare_text(one);
  return one;
}

Encoded OptimizedPipeline::encode_source(const at::Tensor& pixels) {
  const auto moments = vae_->encode(pixels).to(at::kFloat).contiguous().chunk(2, 1);
  return {moments[0].contiguous(), moments[1].clamp(-30.0, 20.0)};
}

/// The posterior's sample as start latents: semantics.md section 3.
at::Tensor OptimizedPipeline::scaled_sample(const Encoded& encoded, const at::Tensor& draw) const {
  const VaeConfig& config = model_->config.vae;
  const at::Tensor sample = encoded.mean + at::exp(0.5 * encoded.logvar) * draw;
  if (config.latents_mean.empty() || config.latents_std.empty()) return sample * config.scaling_factor;
  const at::Tensor mean = on_device(at::tensor(config.latents_mean, at::kFloat)).view({1, -1, 1, 1});
  const at::Tensor deviation = on_device(at::tensor(config.latents_std, at::kFloat)).view({1, -1, 1, 1});
  return (sample - mean) * config.scaling_factor / deviation;
}

at::Tensor OptimizedPipeline::unscaled(const at::Tensor& latents) const {
  const VaeConfig& config = model_->config.vae;
  if (config.latents_mean.empty() || config.latents_std.empty()) return latents / config.scaling_factor;
  const at::Tensor mean = on_device(at::tensor(config.latents_mean, at::kFloat)).view({1, -1, 1, 1});
  const at::Tensor deviation = on_device(at::tensor(config.latents_std, at::kFloat)).view({1, -1, 1, 1});
  return latents * deviation / config.scaling_factor + mean;
}

/// The source's channels for each guidance row: [source, source, nothing] (semantics.md section 10); unscaled but for
/// CosXL.
at::Tensor OptimizedPipeline::image_condition(const Encoded& encoded, GuidanceMode mode) const {
  if (!model_->config.takes_source_as_condition()) return {};
  const at::Tensor latents =
      model_->config.is_cosxl_edit ? encoded.mean * model_->config.vae.scaling_factor : encoded.mean;
  if (mode == GuidanceMode::kNone) return latents;
  return at::cat({latents, latents, at::zeros_like(latents)});
}

/// @return  one per UNet call and step: rows share a call, or have one each
std::vector<std::vector<TimeBiases>> OptimizedPipeline::prepare_time(const std::vector<double>& timesteps,
                                                                     const Conditioning& conditioning) const {
  const double scale = conditioning.guidance_scale;
  if (features().batched_guidance)
    return {unet_.prepare_time(timesteps, conditioning.pooled, conditioning.time_ids, scale)};
  std::vector<std::vector<TimeBiases>> calls;
  for (std::int64_t row = 0; row < conditioning.embeds.size(0); ++row) {
    const auto own = [&](const at::Tensor& rows) { return rows.defined() ? rows.narrow(0, row, 1) : rows; };
    calls.push_back(unet_.prepare_time(timesteps, own(conditioning.pooled), own(conditioning.time_ids), scale));
  }
  return calls;
}

/// Readies deep features for a step: nothing where it evaluates everything, else those of its own rows.
/// @param rows  of the guidance batch, that the step evaluates
void OptimizedPipeline::prepare_deep(std::vector<DeepFeatures>& deep, const StepWork& work, const StepSavings& savings,
                                     std::int64_t rows, std::int64_t conditional_row) const {
  if (savings.reuse_interval == 1) return;
  if (work.whole) {
    deep.assign(features().batched_guidance ? 1 : static_cast<std::size_t>(rows),
                {static_cast<std::size_t>(savings.reuse_depth), {}, rows});
    return;
  }
  // Where guidance has ended since, the conditional row's are what is needed of them.
  if (rows == deep.front().rows) return;
  if (features().batched_guidance) {
    const std::int64_t images = deep.front().hidden.size(0) / deep.front().rows;
    deep = {{deep.front().depth, deep.front().hidden.narrow(0, conditional_row * images, images), 1}};
  } else {
    deep = {deep[static_cast<std::size_t>(conditional_row)]};
    deep.front().rows = 1;
  }
}

/// One UNet evaluation of all guidance rows. @param time  for this step: one for all rows, or one per row
/// @param deep  as many, or empty where no step reuses features
at::Tensor OptimizedPipeline::predict(const at::Tensor& unet_in, const Conditioning& conditioning,
                                      const std::vector<TimeBiases>& time, std::vector<DeepFeatures>& deep) {
  const auto key_values = [&](std::int64_t row) {
    if (!conditioning.key_values.empty()) return conditioning.key_values[static_cast<std::size_t>(row)];
    return unet_.prepare_text(features().batched_guidance ? conditioning.embeds
                                                          : conditioning.embeds.narrow(0, row, 1));
  };
  const auto deep_of = [&](std::size_t call) { return deep.empty() ? nullptr : &deep[call]; };
  if (features().batched_guidance) return unet_(unet_in, key_values(0), time[0], deep_of(0));
  const std::int64_t rows = conditioning.embeds.size(0);
  std::vector<at::Tensor> parts;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t images = unet_in.size(0) / rows;
    const auto call = static_cast<std::size_t>(row);
    parts.push_back(unet_(unet_in.narrow(0, row * images, images), key_values(row), time[call], deep_of(call)));
  }
  return settled(runtime_, at::cat(parts));
}

/// As predict, from latents, as one captured piece of work: it depends on nothing but the values of tensors.
at::Tensor OptimizedPipeline::predict_captured(const at::Tensor& latents, double input_scale,
                                               const at::Tensor& condition, const Conditioning& conditioning,
                                               const TimeBiases& time) {
  const bool with_condition = condition.defined();
  const TextKeyValues& text = conditioning.key_values[0];
  std::vector<at::Tensor> inputs = {latents * input_scale};
  if (with_condition) inputs.push_back(condition);
  for (const KeyValue& one : text) inputs.push_back(one.tensor);
  inputs.insert(inputs.end(), time.begin(), time.end());
  const std::int64_t images = conditioning.embeds.size(0) * latents.size(0);
  std::string key;
  for (const at::Tensor& input : inputs) key += c10::str(input.sizes());
  return captured_->run(key, inputs, [&](const std::vector<at::Tensor>& held) {
    // Buffers of its own: other work must not be given memory that a replay writes.
    Buffers own(features().reused_buffers, runtime_.activation, device_);
    std::swap(runtime_.buffers, own);
    auto next = held.begin();
    const at::Tensor held_latents = *next++;
    at::Tensor unet_in =
        runtime_.buffers.image(images, model_->config.unet.in_channels, latents.size(2), latents.size(3));
    ops::unet_input(held_latents, with_condition ? ops::OptionalTensor(*next++) : std::nullopt, 1.0, unet_in);
    TextKeyValues held_text;
    for (const KeyValue& one : text) held_text.push_back({*next++, one.keys});
    const TimeBiases held_time(next, held.end());
    at::Tensor noise_pred = unet_(settled(runtime_, unet_in), held_text, held_time);
    std::swap(runtime_.buffers, own);
    return noise_pred;
  });
}

at::Tensor OptimizedPipeline::postprocess(const at::Tensor& sample) {
  if (!features().fused_pixels)
    return (sample.to(at::kFloat) * 0.5 + 0.5).clamp(0.0, 1.0).permute({0, 2, 3, 1}).contiguous().cpu();
  at::Tensor images =
      at::empty({sample.size(0), sample.size(2), sample.size(3), sample.size(1)}, sample.options().dtype(at::kFloat));
  ops::sample_to_pixels(sample.contiguous(at::MemoryFormat::ChannelsLast), images);
  return images.cpu();
}

void OptimizedPipeline::keep_buffers_for(const ActionPlan& plan, int batch_size) {
  const std::vector<std::int64_t> size = {plan.width, plan.height, batch_size, rows_of(plan.guidance)};
  if (size == buffers_size_) return;
  runtime_.buffers.clear();
  text_runtime_.buffers.clear();
  vae_runtime().buffers.clear();
  buffers_size_ = size;
}

Result OptimizedPipeline::generate(const Request& request, const Image& source, const GenerateOptions& options) try {
  const c10::NoGradGuard no_grad;
  const at::AutoDispatchBelowADInplaceOrView straight_to_the_backend;
  const ops::EmulatedKernels emulated(backend_ != nullptr && backend_->emulated());
  unchecked_.clear();
  marks_.clear();
  if (backend_ != nullptr) backend_->forget_marks();
  const auto substitutes = backend_ != nullptr ? backend_->substitutes() : std::map<std::string, std::int64_t>();
  Result result = run(request, source, options);
  if (backend_ != nullptr) read_marks(result.stages);
  note_substitutes(substitutes, result.warnings);
  return result;
} catch (const std::bad_alloc&) {
  throw out_of_memory("");
} catch (const c10::OutOfMemoryError& error) {
  throw out_of_memory(fmt::format(": {}", error.what_without_backtrace()));
} catch (const c10::Error& error) {
  throw Error(ErrorCode::kGenerationFailed, error.what_without_backtrace());
}

Result OptimizedPipeline::run(const Request& request, const Image& source, const GenerateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  TraceSink* trace = options.trace;
  const auto hand_out = [&](const char* name, int step, const at::Tensor& tensor) {
    if (trace != nullptr) trace->tensor(name, step, tensor.to(at::kCPU, at::kFloat).contiguous().clone());
  };

  // 1. What the request means here.
  const ActionPlan plan = plan_action(request, model_->config, source.width, source.height);
  const StepSchedule schedule = make_step_schedule(options.scheduler, plan);
  const std::size_t steps = schedule.rows.size();
  const std::vector<double> timesteps(schedule.timesteps.begin() + static_cast<std::ptrdiff_t>(schedule.first),
                                      schedule.timesteps.end());
  const std::vector<StepWork> work = plan_steps(options.savings, timesteps, unet_.resnets_up());
  const int batch = request.batch_size, rows = rows_of(plan.guidance);
  keep_buffers_for(plan, batch);
  if (options.locked_latents.defined() && options.locked_latents.size(0) != static_cast<std::int64_t>(steps)) {
    throw Error(ErrorCode::kUsage, fmt::format("locked latents hold {} steps, the schedule runs {}",
                                               options.locked_latents.size(0), steps));
  }
  Result result;
  result.seed = plan.seed;
  result.width = plan.width;
  result.height = plan.height;
  result.steps_run = static_cast<int>(steps);
  result.warnings = plan.warnings;
  if (vae_runtime_ != nullptr) result.warnings.emplace_back("the VAE runs in bfloat16: float16 is too narrow for it");
  auto& stages = result.stages;
  if (trace != nullptr) {
    trace->tensor("schedule.timesteps", -1, at::tensor(schedule.timesteps, at::kDouble).to(at::kFloat));
    if (!schedule.sigmas.empty())
      trace->tensor("schedule.sigmas", -1, at::tensor(schedule.sigmas, at::kDouble).to(at::kFloat));
    trace->tensor("schedule.timesteps_run", -1, at::tensor(timesteps, at::kDouble));
  }

  // 2. Source and prompts.
  const at::Tensor pixels = timed(stages, "preprocess", -1, [&] { return preprocess(source, plan); });
  hand_out("source.pixels", -1, pixels);
  const Conditioning conditioning =
      timed(stages, "encode_prompt", -1, [&] { return encode_prompt(request, plan, trace); });
  const Encoded encoded = timed(stages, "vae_encode", -1, [&] {
    Encoded moments = encode_source(pixels);
    check_finite_later(moments.mean, "vae_encode");
    return moments;
  });
  hand_out("vae.mean", -1, encoded.mean);
  hand_out("vae.logvar", -1, encoded.logvar);

  // 3. Start latents, draws in the order of semantics.md section 7.
  NoiseSource noise_source(plan.seed, batch, options.noise, trace);
  const std::int64_t channels = encoded.mean.size(1), height = encoded.mean.size(2), width = encoded.mean.size(3);
  at::Tensor latents;
  if (plan.starts_from_noise) {
    latents = on_device(noise_source.draw(channels, height, width)) * schedule.start_noise;
  } else {
    const at::Tensor posterior = on_device(noise_source.draw_posterior(channels, height, width));
    const at::Tensor z = scaled_sample(encoded, posterior);
    latents = z * schedule.start_sample + on_device(noise_source.draw(channels, height, width)) * schedule.start_noise;
  }
  latents = latents.contiguous();
  const at::Tensor condition = image_condition(encoded, plan.guidance);

  // 4. The loop: predict, guide, step. Steps without guidance evaluate the conditional row alone.
  LoopRows every{conditioning, condition, rows, {}}, conditional;
  const std::int64_t conditional_row = plan.guidance == GuidanceMode::kText ? 1 : 0;
  Stepper stepper(schedule, features(),
                  {request.guidance_scale, request.image_guidance_scale, options.guidance_rescale}, device_);
  const auto draw_for = [&](const StepRow& row) {
    return row.path ? noise_source.draw_interval(*row.path, channels, height, width)
                    : noise_source.draw(channels, height, width);
  };
  std::vector<at::Tensor> noises(steps);  // on a GPU in one transfer before the loop, elsewhere drawn when needed
  if (backend_ != nullptr) upload_noises(schedule.rows, draw_for, device_, noises);
  const bool captures = backend_ != nullptr && trace == nullptr && features().captured_steps &&
                        !options.savings.any() && features().batched_guidance && features().cached_text_states &&
                        features().cached_timesteps;
  std::vector<DeepFeatures> deep;  // of the last whole step, one a UNet call
  for (std::size_t i = 0; i < steps; ++i) {
    const int step = static_cast<int>(i);
    if (options.locked_latents.defined())
      latents = options.locked_latents.select(0, step).to(device_, at::kFloat).contiguous();
    hand_out("loop.latents_in", step, latents);
    const at::Tensor noise_pred = timed(stages, "unet", step, [&] {
      const bool alone = !work[i].guided && rows > 1;
      if (alone && conditional.rows == 0) {
        conditional = {row_of(conditioning, conditional_row),
                       condition.defined() ? condition.narrow(0, conditional_row, 1) : condition,
                       1,
                       {}};
      }
      LoopRows& now = alone ? conditional : every;
      const bool cached = features().cached_timesteps;
      if (now.time.empty() || !cached)
        now.time = prepare_time(cached ? timesteps : std::vector{timesteps[i]}, now.conditioning);
      std::vector<TimeBiases> time;
      for (const auto& call : now.time) time.push_back(call[cached ? i : 0]);
      if (captures) return predict_captured(latents, schedule.input_scale[i], condition, conditioning, time[0]);
      at::Tensor unet_in = runtime_.buffers.image(now.rows * batch, model_->config.unet.in_channels, height, width);
      ops::unet_input(latents, now.condition.defined() ? ops::OptionalTensor(now.condition) : std::nullopt,
                      schedule.input_scale[i], unet_in);
      unet_in = settled(runtime_, unet_in);
      hand_out("loop.unet_in", step, unet_in);
      prepare_deep(deep, work[i], options.savings, now.rows, conditional_row);
      at::Tensor out = predict(unet_in, now.conditioning, time, deep);
      hand_out("loop.unet_out", step, out);
      return out;
    });
    latents = timed(stages, "scheduler_step", step, [&] {
      const StepRow& row = schedule.rows[i];
      at::Tensor noise;
      if (row.draws_noise) noise = noises[i].defined() ? noises[i] : draw_for(row);
      const at::Tensor guided = trace != nullptr ? at::empty_like(latents) : at::Tensor();
      at::Tensor prev_sample = stepper.step(i, noise_pred, latents, noise, guided);
      if (trace != nullptr) trace->tensor("loop.guided", step, guided.cpu());
      check_finite_later(prev_sample, fmt::format("step {} (timestep {})", step, timesteps[i]));
      return prev_sample;
    });
    hand_out("loop.latents_out", step, latents);
  }

  // 5. Pictures.
  const at::Tensor decoded = timed(stages, "vae_decode", -1, [&] {
    const at::Tensor z = unscaled(latents);
    hand_out("vae.latents_unscaled", -1, z);
    return vae_->decode(settled(vae_runtime(), z.to(vae_runtime().activation)));
  });
  result.images = timed(stages, "postprocess", -1, [&] {
    at::Tensor images = postprocess(decoded);
    check_finite_now();
    check_finite(images, "vae_decode");
    return images;
  });
  hand_out("images", -1, result.images);
  result.total_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return result;
}

bool processor_has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace

std::unique_ptr<Pipeline> make_optimized_pipeline(std::shared_ptr<const Model> model, const PipelineOptions& options) {
  CudaBackend* backend = nullptr;
  if (options.device == "cuda" || options.device == "cuda-emulated") {
    backend = &cuda_backend(options.device);
    if (options.dtype != at::kBFloat16 && options.dtype != at::kHalf) {
      throw Error(ErrorCode::kUsage, fmt::format("unsupported dtype {} on {}: bfloat16 and float16 are",
                                                 c10::toString(options.dtype), options.device));
    }
  } else if (options.device != "cpu") {
    throw Error(ErrorCode::kUsage, fmt::format("device {}: known are cpu, cuda, cuda-emulated", options.device));
  } else if (options.dtype != at::kFloat && options.dtype != at::kBFloat16) {
    throw Error(ErrorCode::kUsage,
                fmt::format("unsupported dtype {} on cpu: float32 and bfloat16 are", c10::toString(options.dtype)));
  } else if (options.dtype == at::kBFloat16 && !processor_has_bf16()) {
    throw Error(ErrorCode::kUsage, "unsupported dtype bfloat16: this processor lacks AVX512_BF16");
  }
  at::get_num_threads();  // lets torch settle the number of OpenMP threads, which our operators share
  const c10::NoGradGuard no_grad;
  const at::AutoDispatchBelowADInplaceOrView straight_to_the_backend;
  const ops::EmulatedKernels emulated(backend != nullptr && backend->emulated());
  return std::make_unique<OptimizedPipeline>(std::move(model), options, backend);
}

std::unique_ptr<Pipeline> make_calibration_pipeline(std::shared_ptr<const Model> model,
                                                    std::shared_ptr<Int8Layers> layers) {
  const c10::NoGradGuard no_grad;
  const at::AutoDispatchBelowADInplaceOrView straight_to_the_backend;
  return std::make_unique<OptimizedPipeline>(std::move(model), PipelineOptions{}, nullptr, std::move(layers));
}

}  // namespace i2i
