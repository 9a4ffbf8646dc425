#include "optimized/pipeline.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <chrono>
#include <new>

#include "interface/error.h"
#include "interface/stage_clock.h"
#include "optimized/captured.h"
#include "optimized/conditioning.h"
#include "optimized/device_watch.h"
#include "optimized/hand_out.h"
#include "optimized/image_codec.h"
#include "optimized/latent_noise.h"
#include "optimized/loop_plan.h"
#include "optimized/predictor.h"
#include "optimized/runtimes.h"
#include "optimized/stepper.h"

namespace i2i {
namespace {

constexpr std::size_t kCaptures = 4;  // loops or steps, of different shapes

/// What every entry into the pipeline sets for its thread: no gradients, and the backend's operators at once.
struct PlainDispatch {
  explicit PlainDispatch(const CudaBackend* backend) : emulated(backend != nullptr && backend->emulated()) {}

  c10::NoGradGuard no_grad;
  at::AutoDispatchBelowADInplaceOrView straight_to_the_backend;
  ops::EmulatedKernels emulated;
};

std::string name_of_step(const LoopPlan& plan, std::size_t step) {
  return fmt::format("step {} (timestep {})", step, plan.timesteps[step]);
}

class OptimizedPipeline final : public Pipeline {
 public:
  /// @param backend  of CUDA's kernels; null on a CPU
  /// @param int8     null: with the feature int8 the layers that the model's calibration allows
  OptimizedPipeline(std::shared_ptr<const Model> model, const PipelineOptions& options, CudaBackend* backend,
                    std::shared_ptr<Int8Layers> int8 = nullptr)
      : model_(std::move(model)),
        backend_(backend),
        runtimes_(model_->config, options, backend, std::move(int8)),
        unet_(runtimes_.unet(), runtimes_.exact(), model_->config.unet, model_->unet_weights),
        codec_(runtimes_, *model_),
        prompts_(runtimes_.text(), *model_),
        watch_(backend),
        side_buffers_(runtimes_.features().reused_buffers, runtimes_.vae().activation, runtimes_.device()) {
    if (backend_ != nullptr) captured_ = backend_->make_captured_work(kCaptures);
    runtimes_.check_int8_names();
  }

  Result generate(const Request& request, const Image& source, const GenerateOptions& options) override;

 private:
  Result run(const Request& request, const Image& source, const GenerateOptions& options);
  Result begun_result(const LoopPlan& plan) const;
  std::vector<UNetCall> encode_prompts(const Request& request, const LoopPlan& plan, TraceSink* trace);
  at::Tensor start_latents(const LoopPlan& plan, const Encoded& encoded, LatentNoise& noise) const;
  at::Tensor run_loop(const LoopPlan& plan, const Guidance& guidance, Predictor::Rows rows, LatentNoise& noise,
                      at::Tensor latents, const GenerateOptions& options, std::vector<StageTime>& stages);
  at::Tensor replay_loop(const LoopPlan& plan, const Guidance& guidance, const Predictor::Rows& rows,
                         LatentNoise& noise, const at::Tensor& latents, std::vector<StageTime>& stages);
  void keep_buffers_for(const LoopPlan& plan);
  Error out_of_memory(const std::string& wanted);

  /// timed_stage, by the device's clock where there is one.
  template <typename Body>
  auto timed(std::vector<StageTime>& stages, const char* name, int step, const Body& body) {
    const int from = watch_.mark();
    auto result = timed_stage(stages, name, step, body);
    watch_.stage_ended(stages.size() - 1, from);
    return result;
  }

  std::shared_ptr<const Model> model_;
  CudaBackend* backend_;
  Runtimes runtimes_;
  OptimizedUNet unet_;
  ImageCodec codec_;
  PromptEncoder prompts_;
  std::unique_ptr<CapturedWork> captured_;
  DeviceWatch watch_;
  Buffers side_buffers_;  ///< of the VAE's encoder, where it runs beside others
  std::vector<std::int64_t> buffers_size_;
};

Result OptimizedPipeline::generate(const Request& request, const Image& source, const GenerateOptions& options) try {
  const PlainDispatch plain(backend_);
  if (backend_ != nullptr)
    backend_->use_libraries(runtimes_.features().cudnn_graph, runtimes_.features().tuned_libraries);
  watch_.start();
  Result result = run(request, source, options);
  watch_.finish(result);
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

  // 1. What the request means here.
  const LoopPlan plan = plan_loop(request, model_->config, source, options, unet_.resnets_up());
  trace_schedule(plan, trace);
  keep_buffers_for(plan);
  Result result = begun_result(plan);
  auto& stages = result.stages;

  // 2. Source and prompts.
  const at::Tensor pixels =
      timed(stages, "preprocess", -1, [&] { return codec_.preprocess(source, plan.action.width, plan.action.height); });
  hand_out(trace, "source.pixels", -1, pixels);
  Encoded encoded;
  std::vector<UNetCall> calls;
  const auto encode_source = [&] { encoded = timed(stages, "vae_encode", -1, [&] { return codec_.encode(pixels); }); };
  const auto encode_text = [&] {
    calls = timed(stages, "encode_prompt", -1, [&] { return encode_prompts(request, plan, trace); });
  };
  if (backend_ != nullptr && runtimes_.features().overlapped_streams) {
    const auto side = backend_->beside([&]() -> SideWork::Tensors {
      const OtherBuffers other(runtimes_.vae().buffers, side_buffers_);
      encode_source();
      return {encoded.mean, encoded.logvar};
    });
    encode_text();
    side->join();
  } else {
    encode_text();
    encode_source();
  }
  watch_.check_finite_later(encoded.mean, "vae_encode");
  hand_out(trace, "vae.mean", -1, encoded.mean);
  hand_out(trace, "vae.logvar", -1, encoded.logvar);

  // 3. Start latents.
  LatentNoise noise(NoiseSource(plan.action.seed, plan.batch_size, options.noise, trace), runtimes_.unet(),
                    encoded.mean);
  at::Tensor latents = start_latents(plan, encoded, noise);

  // 4. The loop: predict, guide, step.
  const GuidanceMode mode = plan.action.guidance;
  Predictor::Rows rows = {std::move(calls), codec_.condition(encoded, mode), guidance_rows(mode)};
  const Guidance guidance = {request.guidance_scale, request.image_guidance_scale, options.guidance_rescale};
  const bool captured = captured_ != nullptr && loop_can_be_captured(runtimes_.features(), plan, options);
  latents = captured ? replay_loop(plan, guidance, rows, noise, latents, stages)
                     : run_loop(plan, guidance, std::move(rows), noise, latents, options, stages);

  // 5. Pictures.
  const at::Tensor decoded = timed(stages, "vae_decode", -1, [&] {
    const at::Tensor unscaled = codec_.unscaled(latents);
    hand_out(trace, "vae.latents_unscaled", -1, unscaled);
    return codec_.decode(unscaled);
  });
  // On a GPU there, where it takes microseconds.
  if (backend_ != nullptr) watch_.check_finite_later(decoded, "vae_decode");
  result.images = timed(stages, "postprocess", -1, [&] {
    at::Tensor images = codec_.postprocess(decoded);
    watch_.check_finite_now();
    if (backend_ == nullptr) check_finite(images, "vae_decode");
    return images;
  });
  hand_out(trace, "images", -1, result.images);
  result.total_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return result;
}

/// Step by step. @return  the latents after the last
at::Tensor OptimizedPipeline::run_loop(const LoopPlan& plan, const Guidance& guidance, Predictor::Rows rows,
                                       LatentNoise& noise, at::Tensor latents, const GenerateOptions& options,
                                       std::vector<StageTime>& stages) {
  TraceSink* trace = options.trace;
  Predictor predictor(runtimes_.unet(), unet_, captured_.get(), plan, std::move(rows), trace);
  Stepper stepper(plan.schedule, runtimes_.features(), guidance,
                  runtimes_.unet().uploaded(step_scalars(plan.schedule, guidance)));
  if (backend_ != nullptr) noise.upload(plan.schedule.rows);
  for (std::size_t i = 0; i < plan.timesteps.size(); ++i) {
    const int step = static_cast<int>(i);
    if (options.locked_latents.defined())
      latents = options.locked_latents.select(0, step).to(runtimes_.device(), at::kFloat).contiguous();
    hand_out(trace, "loop.latents_in", step, latents);
    const at::Tensor noise_pred = timed(stages, "unet", step, [&] { return predictor.predict(i, latents); });
    latents = timed(stages, "scheduler_step", step, [&] {
      const at::Tensor guided = trace != nullptr ? at::empty_like(latents) : at::Tensor();
      const at::Tensor drawn = noise.of_step(i, plan.schedule.rows[i]);
      at::Tensor prev_sample = stepper.step(i, noise_pred, latents, drawn, guided);
      if (guided.defined()) hand_out(trace, "loop.guided", step, guided);
      watch_.check_finite_later(prev_sample, name_of_step(plan, i));
      return prev_sample;
    });
    hand_out(trace, "loop.latents_out", step, latents);
  }
  return latents;
}

/// All steps as one graph, which says itself when each began and ended. @return  the latents after the last
at::Tensor OptimizedPipeline::replay_loop(const LoopPlan& plan, const Guidance& guidance, const Predictor::Rows& rows,
                                          LatentNoise& noise, const at::Tensor& latents,
                                          std::vector<StageTime>& stages) {
  const CapturedLoop loop = run_captured_loop(*captured_, runtimes_.unet(), unet_, plan, guidance, rows, latents,
                                              noise.upload(plan.schedule.rows));
  for (std::size_t i = 0; i < plan.timesteps.size(); ++i) {
    const int step = static_cast<int>(i);
    for (const auto& [name, mark] : {std::pair{"unet", 2 * i}, std::pair{"scheduler_step", 2 * i + 1}}) {
      stages.push_back({name, step, 0});
      watch_.stage_ended(stages.size() - 1, loop.marks.at(mark), loop.marks.at(mark + 1));
    }
    watch_.check_count_later(loop.not_finite.select(0, step), name_of_step(plan, i));
  }
  return loop.latents;
}

/// What the plan alone says of the result.
Result OptimizedPipeline::begun_result(const LoopPlan& plan) const {
  Result result;
  result.seed = plan.action.seed;
  result.width = plan.action.width;
  result.height = plan.action.height;
  result.steps_run = static_cast<int>(plan.timesteps.size());
  result.warnings = plan.action.warnings;
  if (runtimes_.vae_needs_bf16())
    result.warnings.emplace_back("the VAE runs in bfloat16: float16 is too narrow for it");
  return result;
}

std::vector<UNetCall> OptimizedPipeline::encode_prompts(const Request& request, const LoopPlan& plan,
                                                        TraceSink* trace) {
  const Conditioning conditioning = prompts_(request, plan.action, trace);
  watch_.check_finite_later(conditioning.embeds, "encode_prompt");
  hand_out(trace, "text.embeds", -1, conditioning.embeds);
  if (conditioning.pooled.defined()) hand_out(trace, "text.pooled", -1, conditioning.pooled);
  return make_calls(unet_, runtimes_.features(), conditioning);
}

/// Draws in the order of semantics.md section 7: the posterior's first.
at::Tensor OptimizedPipeline::start_latents(const LoopPlan& plan, const Encoded& encoded, LatentNoise& noise) const {
  const StepSchedule& schedule = plan.schedule;
  if (plan.action.starts_from_noise) return (noise.draw_start() * schedule.start_noise).contiguous();
  const at::Tensor sample = codec_.scaled_sample(encoded, noise.draw_posterior());
  return (sample * schedule.start_sample + noise.draw_start() * schedule.start_noise).contiguous();
}

void OptimizedPipeline::keep_buffers_for(const LoopPlan& plan) {
  const std::vector<std::int64_t> size = {plan.action.width, plan.action.height, plan.batch_size,
                                          guidance_rows(plan.action.guidance)};
  if (size == buffers_size_) return;
  runtimes_.clear_buffers();
  side_buffers_.clear();
  buffers_size_ = size;
}

/// Lets go of everything that a request leaves behind, so that the next one may be smaller and run.
Error OptimizedPipeline::out_of_memory(const std::string& wanted) {
  const std::string there = watch_.free_memory();
  if (backend_ != nullptr) captured_ = backend_->make_captured_work(kCaptures);
  runtimes_.clear_buffers();
  side_buffers_.clear();
  buffers_size_.clear();
  watch_.forget_unchecked();
  if (backend_ != nullptr) backend_->release_cached_memory();
  return {ErrorCode::kGenerationFailed, fmt::format("out of memory{}{}", there, wanted)};
}

}  // namespace

std::unique_ptr<Pipeline> make_optimized_pipeline(std::shared_ptr<const Model> model, const PipelineOptions& options) {
  CudaBackend* backend = backend_for(options);
  at::get_num_threads();  // lets torch settle the number of OpenMP threads, which our operators share
  const PlainDispatch plain(backend);
  return std::make_unique<OptimizedPipeline>(std::move(model), options, backend);
}

std::unique_ptr<Pipeline> make_calibration_pipeline(std::shared_ptr<const Model> model,
                                                    std::shared_ptr<Int8Layers> layers) {
  const PlainDispatch plain(nullptr);
  return std::make_unique<OptimizedPipeline>(std::move(model), PipelineOptions{}, nullptr, std::move(layers));
}

}  // namespace i2i
