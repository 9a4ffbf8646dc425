// The image-to-image action in numbered steps: the file to read first. Below each step stand diffusers' numbers, not
// its code; semantics of the parameters are in interface/action_plan.h.
#include "reference/pipeline.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <new>

#include "interface/error.h"
#include "interface/source_image.h"
#include "interface/stage_clock.h"
#include "reference/modules.h"
#include "reference/scheduler.h"

namespace i2i {
namespace reference {
namespace {

at::TensorOptions checked_options(const PipelineOptions& options) {
  if (!options.features.empty()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("the reference has no feature \"{}\", nor any other", options.features.begin()->first));
  }
  const auto dtype = options.dtype;
  if (dtype != at::kFloat && dtype != at::kDouble && dtype != at::kBFloat16 && dtype != at::kHalf) {
    throw Error(ErrorCode::kUsage, fmt::format("the reference does not run in {}", c10::toString(dtype)));
  }
  if (options.device != "cpu" && (options.device != "cuda" || !at::hasCUDA())) {
    throw Error(ErrorCode::kUsage, fmt::format("the reference cannot run on device \"{}\" here", options.device));
  }
  // float32 means float32: cuDNN would round its inputs to 10 bits of mantissa.
  if (options.device == "cuda") at::globalContext().setAllowTF32CuDNN(false);
  return at::TensorOptions().dtype(dtype).device(at::Device(options.device));
}

/// B rows of every row of `t`, consecutively.
at::Tensor repeat_rows(const at::Tensor& t, std::int64_t times) { return t.repeat_interleave(times, 0); }

bool is_given(const std::optional<std::string>& text) { return text && !text->empty(); }

/// What the UNet is told besides the picture, one row per guidance row and image.
struct Conditioning {
  at::Tensor encoder_hidden_states;  ///< [RB,77,D]
  at::Tensor text_embeds;            ///< [RB,P], SDXL only
  at::Tensor time_ids;               ///< [RB,6], SDXL only; [RB,5] for its refiner
  at::Tensor timestep_cond;          ///< [B,time_cond_proj_dim], LCM checkpoints only
};

/// One call of generate: the state that its steps hand on.
class Run {
 public:
  Run(const Model& model, const Request& request, const GenerateOptions& options, const ActionPlan& plan,
      at::TensorOptions tensor_options, Result& result)
      : model_(model),
        request_(request),
        options_(options),
        plan_(plan),
        tensor_options_(tensor_options),
        noise_(plan.seed, request.batch_size, options.noise, options.trace),
        scheduler_(make_scheduler(options.scheduler, tensor_options.dtype() == at::kDouble ? at::kDouble : at::kFloat)),
        result_(result) {
    scheduler_->set_timesteps(plan.num_inference_steps);
    const auto entries = scheduler_->timesteps().size();  // lambda_min_clipped may leave fewer than there are steps
    if (first_entry() >= entries) {
      throw Error(ErrorCode::kUsage, fmt::format("{}: a schedule of {} timesteps leaves nothing to run from entry {}",
                                                 options.scheduler.name, entries, first_entry()));
    }
  }

  at::Tensor preprocess(const Image& source);
  Conditioning encode_prompt(const std::vector<std::shared_ptr<TextEncoder>>& encoders);
  void encode_source(const AutoencoderKL& vae, const at::Tensor& pixels);
  void denoise(const UNet2DCondition& unet, const Conditioning& conditioning);
  at::Tensor decode(const AutoencoderKL& vae);
  at::Tensor postprocess(const at::Tensor& decoded);

  /// Where the run is, for a message: the stage, and the step within the loop.
  std::string where() const { return step_ < 0 ? stage_ : fmt::format("{}, step {}", stage_, step_); }

 private:
  /// Runs `body` as a named, timed stage of the result.
  template <typename Body>
  auto stage(const char* name, int step, Body&& body) {
    stage_ = name;
    step_ = step;
    return timed_stage(result_.stages, name, step, std::forward<Body>(body));
  }
  void trace(const char* name, const at::Tensor& value, int step = -1) const {
    if (options_.trace == nullptr || !value.defined()) return;
    const bool floating = value.is_floating_point() && std::string_view(name) != "schedule.timesteps_run";
    options_.trace->tensor(name, step, (floating ? value.to(at::kCPU, at::kFloat) : value.cpu()).contiguous());
  }
  void require_finite(const char* what, const at::Tensor& value) const {
    if (at::isfinite(value).all().item<bool>()) return;
    throw Error(ErrorCode::kGenerationFailed, fmt::format("{}: {} holds NaN or infinity", where(), what));
  }
  at::Tensor to_model(const at::Tensor& t) const { return t.to(tensor_options_); }
  std::int64_t guidance_rows() const {
    return plan_.guidance == GuidanceMode::kNone ? 1 : plan_.guidance == GuidanceMode::kText ? 2 : 3;
  }
  at::Tensor time_ids() const;
  void start_latents();
  std::size_t first_entry() const {
    return static_cast<std::size_t>(plan_.t_start) * static_cast<std::size_t>(scheduler_->order());
  }
  at::Tensor step_noise(std::size_t schedule_index);
  at::Tensor unet_input(const at::Tensor& latents, std::size_t schedule_index) const;
  at::Tensor guided(const at::Tensor& noise_pred) const;
  at::Tensor rescaled(const at::Tensor& guided_noise_pred, const at::Tensor& conditional) const;
  std::pair<at::Tensor, at::Tensor> latents_statistics() const;

  const Model& model_;
  const Request& request_;
  const GenerateOptions& options_;
  const ActionPlan& plan_;
  at::TensorOptions tensor_options_;
  NoiseSource noise_;
  std::unique_ptr<Scheduler> scheduler_;
  Result& result_;

  std::string stage_ = "setup";
  int step_ = -1;
  AutoencoderKL::Posterior posterior_;
  at::Tensor image_latents_;  ///< [1,4,h,w], the condition of an 8-channel UNet
  at::Tensor latents_;        ///< [B,4,h,w]
};

// ---- 1. The source picture as a tensor in [-1,1] -----------------------------------------------------------------

at::Tensor Run::preprocess(const Image& source) {
  return stage("preprocess", -1, [&] {
    const auto resized = resize_lanczos(source, plan_.width, plan_.height);
    const auto bytes = at::tensor(at::ArrayRef<std::uint8_t>(resized.rgb)).view({plan_.height, plan_.width, 3});
    const auto pixels = (2 * (bytes.to(at::kFloat) / 255) - 1).permute({2, 0, 1}).unsqueeze(0).contiguous();
    trace("source.pixels", pixels);
    return to_model(pixels);
  });
}

// ---- 2. The prompts ----------------------------------------------------------------------------------------------

Conditioning Run::encode_prompt(const std::vector<std::shared_ptr<TextEncoder>>& encoders) {
  return stage("encode_prompt", -1, [&] {
    // The second prompt goes to the second encoder alone; the negative prompt goes to both.
    const auto& prompt_2 = is_given(request_.prompt_2) ? *request_.prompt_2 : request_.prompt;
    std::vector<at::Tensor> embeds;
    at::Tensor pooled;
    for (std::size_t i = 0; i < encoders.size(); ++i) {
      std::vector<std::string> texts;  // negative first
      if (plan_.guidance != GuidanceMode::kNone) texts.push_back(request_.negative_prompt);
      texts.push_back(i == 1 ? prompt_2 : request_.prompt);
      std::vector<at::Tensor> rows;
      for (const auto& text : texts) rows.push_back(at::tensor(model_.tokenizers[i].encode(text), at::kLong));
      const auto ids = at::stack(rows);
      trace(i == 0 ? "text.ids.0" : "text.ids.1", ids);

      const auto output = encoders[i]->forward(ids.to(tensor_options_.device()));
      embeds.push_back(model_.config.is_sdxl() ? output.penultimate : output.last_hidden_state);
      if (model_.config.is_sdxl()) pooled = output.text_embeds;  // the last encoder's stays
    }
    auto text = at::cat(embeds, -1);
    if (plan_.guidance == GuidanceMode::kTextAndImage) {
      const auto order = at::tensor({1, 0, 0}, at::kLong).to(text.device());  // positive, negative, negative
      text = text.index_select(0, order);
      if (pooled.defined()) pooled = pooled.index_select(0, order);
    }
    trace("text.embeds", text);
    trace("text.pooled", pooled);
    require_finite("text.embeds", text);

    Conditioning conditioning;
    conditioning.encoder_hidden_states = repeat_rows(text, request_.batch_size);
    if (model_.config.unet.text_time_conditioning) {
      conditioning.text_embeds = repeat_rows(pooled, request_.batch_size);
      conditioning.time_ids = repeat_rows(time_ids(), request_.batch_size);
    }
    if (const auto size = model_.config.unet.time_cond_proj_dim; size > 0) {
      // The guidance scale itself is embedded (Meng et al. 2023, arXiv:2210.03142), in float32 as diffusers has it.
      const auto w = at::full({request_.batch_size}, 1000 * (request_.guidance_scale - 1), at::kFloat);
      conditioning.timestep_cond = to_model(sinusoidal_embedding(w, size, /*flip_sin_to_cos=*/false, /*freq_shift=*/1));
    }
    return conditioning;
  });
}

/// One row for each guidance row: original size, crop, target size, the same for all. The refiner was trained with an
/// aesthetic score in place of the target size, and is told that the negative prompt's pictures are worse.
at::Tensor Run::time_ids() const {
  const auto height = double(plan_.height), width = double(plan_.width);
  std::vector<at::Tensor> rows;
  for (std::int64_t row = 0; row < guidance_rows(); ++row) {
    const bool is_negative = plan_.guidance == GuidanceMode::kText ? row == 0 : row > 0;
    rows.push_back(model_.config.requires_aesthetics_score
                       ? at::tensor({height, width, 0.0, 0.0, is_negative ? 2.5 : 6.0}, at::kDouble)
                       : at::tensor({height, width, 0.0, 0.0, height, width}, at::kDouble));
  }
  return to_model(at::stack(rows));
}

// ---- 3. The source picture as latents ----------------------------------------------------------------------------

void Run::encode_source(const AutoencoderKL& vae, const at::Tensor& pixels) {
  stage("vae_encode", -1, [&] {
    posterior_ = vae.encode(pixels);
    trace("vae.mean", posterior_.mean);
    trace("vae.logvar", posterior_.logvar);
    require_finite("vae.mean", posterior_.mean);
    if (model_.config.takes_source_as_condition()) {
      // The condition is the mode, and unscaled: InstructPix2Pix was trained so, and only cosXL edit otherwise.
      image_latents_ = to_model(posterior_.mean);
      if (model_.config.is_cosxl_edit) image_latents_ = image_latents_ * model_.config.vae.scaling_factor;
    }
    start_latents();
  });
}

/// (mean, std) of latents per channel [1,C,1,1]; undefined where the VAE does not say.
std::pair<at::Tensor, at::Tensor> Run::latents_statistics() const {
  const auto& vae = model_.config.vae;
  if (vae.latents_mean.empty() || vae.latents_std.empty()) return {};
  const auto per_channel = [&](const std::vector<double>& values) {
    return to_model(at::tensor(values, at::kDouble)).view({1, -1, 1, 1});
  };
  return {per_channel(vae.latents_mean), per_channel(vae.latents_std)};
}

// ---- 4. The first latents (timed with the stage above) -----------------------------------------------------------

void Run::start_latents() {
  const auto& mean = posterior_.mean;
  const auto channels = mean.size(1), height = mean.size(2), width = mean.size(3);
  const auto batch = std::int64_t{request_.batch_size};
  if (plan_.starts_from_noise) {
    latents_ = to_model(noise_.draw(channels, height, width)) * scheduler_->init_noise_sigma();
    return;
  }
  // A sample of the posterior, scaled, then noised to the level of the first timestep that strength leaves.
  const auto std_dev = at::exp(0.5 * posterior_.logvar);
  auto z = mean + std_dev * noise_.draw_posterior(channels, height, width).to(mean.options());
  if (const auto [latents_mean, latents_std] = latents_statistics(); latents_mean.defined()) {
    z = (z - latents_mean) * model_.config.vae.scaling_factor / latents_std;
  } else {
    z = model_.config.vae.scaling_factor * z;
  }
  z = to_model(z).expand({batch, channels, height, width});
  const auto start_noise = to_model(noise_.draw(channels, height, width));
  latents_ = scheduler_->add_noise(z, start_noise, first_entry());
}

// ---- 5. The loop: predict, guide, step ---------------------------------------------------------------------------

void Run::denoise(const UNet2DCondition& unet, const Conditioning& conditioning) {
  const auto& timesteps = scheduler_->timesteps();
  const auto first = first_entry();
  const auto steps = static_cast<int>(timesteps.size() - first);
  const auto as_tensor = [](at::ArrayRef<double> values) { return at::tensor(values, at::kDouble); };
  trace("schedule.timesteps", as_tensor(timesteps));
  trace("schedule.sigmas", scheduler_->sigmas());
  trace("schedule.timesteps_run", as_tensor(timesteps).slice(0, static_cast<std::int64_t>(first)));
  const auto& locked = options_.locked_latents;
  if (locked.defined() && (locked.dim() != 5 || locked.size(0) != steps || locked[0].sizes() != latents_.sizes())) {
    throw Error(ErrorCode::kUsage,
                fmt::format("locked_latents has shape [{}], this run needs [{},{}]", fmt::join(locked.sizes(), ","),
                            steps, fmt::join(latents_.sizes(), ",")));
  }

  for (int step = 0; step < steps; ++step) {
    const auto index = first + static_cast<std::size_t>(step);
    if (locked.defined()) latents_ = to_model(locked[step]);
    trace("loop.latents_in", latents_, step);

    const auto noise_pred = stage("unet", step, [&] {
      const auto input = unet_input(latents_, index);
      trace("loop.unet_in", input, step);
      auto output = unet.forward(input, timesteps[index], conditioning.encoder_hidden_states, conditioning.text_embeds,
                                 conditioning.time_ids, conditioning.timestep_cond);
      trace("loop.unet_out", output, step);
      require_finite("noise_pred", output);
      return output;
    });
    stage("scheduler_step", step, [&] {
      const auto guided_noise_pred = guided(noise_pred);
      trace("loop.guided", guided_noise_pred, step);
      const auto noise = scheduler_->needs_noise(index) ? to_model(step_noise(index)) : at::Tensor();
      latents_ = scheduler_->step(guided_noise_pred, index, latents_, noise);
      trace("loop.latents_out", latents_, step);
      require_finite("latents", latents_);
    });
  }
  step_ = -1;
  result_.steps_run = steps;
}

at::Tensor Run::step_noise(std::size_t schedule_index) {
  const auto channels = latents_.size(1), height = latents_.size(2), width = latents_.size(3);
  const auto interval = scheduler_->noise_interval(schedule_index);
  return interval ? noise_.draw_interval(*interval, channels, height, width) : noise_.draw(channels, height, width);
}

/// The guidance batch: [negative, positive], or [text+image, image, neither] with the source's latents as four more
/// channels, which no scheduler scales.
at::Tensor Run::unet_input(const at::Tensor& latents, std::size_t schedule_index) const {
  const auto rows = guidance_rows();
  const auto scaled = scheduler_->scale_model_input(latents, schedule_index).to(latents.scalar_type());
  const auto noisy = scaled.repeat({rows, 1, 1, 1});
  if (!image_latents_.defined()) return noisy;
  const auto image = image_latents_.expand_as(latents);
  const auto condition = rows == 1 ? image : at::cat({image, image, at::zeros_like(image)});
  return at::cat({noisy, condition}, 1);
}

/// Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6), and its form with two conditions (Brooks et
/// al. 2023, arXiv:2211.09800, eq. 3).
at::Tensor Run::guided(const at::Tensor& noise_pred) const {
  if (plan_.guidance == GuidanceMode::kNone) return noise_pred;
  const auto out = noise_pred.chunk(guidance_rows());
  if (plan_.guidance == GuidanceMode::kText) {
    return rescaled(out[0] + request_.guidance_scale * (out[1] - out[0]), out[1]);
  }
  return rescaled(
      out[2] + request_.guidance_scale * (out[0] - out[1]) + request_.image_guidance_scale * (out[1] - out[2]), out[0]);
}

/// guidance_rescale: each image's deviation brought back towards the conditional one's (Lin et al. 2023,
/// arXiv:2305.08891, eq. 14 to 16).
at::Tensor Run::rescaled(const at::Tensor& guided_noise_pred, const at::Tensor& conditional) const {
  const auto share = options_.guidance_rescale;
  if (share == 0) return guided_noise_pred;
  const auto deviation = [](const at::Tensor& t) { return t.std({1, 2, 3}, /*unbiased=*/true, /*keepdim=*/true); };
  const auto matched = guided_noise_pred * (deviation(conditional) / deviation(guided_noise_pred));
  return share * matched + (1 - share) * guided_noise_pred;
}

// ---- 6. Latents as pictures --------------------------------------------------------------------------------------

at::Tensor Run::decode(const AutoencoderKL& vae) {
  return stage("vae_decode", -1, [&] {
    auto unscaled = latents_ / model_.config.vae.scaling_factor;
    if (const auto [mean, std_dev] = latents_statistics(); mean.defined()) {
      unscaled = latents_ * std_dev / model_.config.vae.scaling_factor + mean;
    }
    trace("vae.latents_unscaled", unscaled);
    auto decoded = vae.decode(unscaled.to(posterior_.mean.scalar_type()));
    require_finite("images", decoded);
    return decoded;
  });
}

at::Tensor Run::postprocess(const at::Tensor& decoded) {
  return stage("postprocess", -1, [&] {
    auto images = (decoded * 0.5 + 0.5).clamp(0, 1).to(at::kCPU, at::kFloat).permute({0, 2, 3, 1}).contiguous();
    trace("images", images);
    return images;
  });
}

// ---- The pipeline: networks made once, runs made of the steps above ----------------------------------------------

class ReferencePipeline final : public Pipeline {
 public:
  ReferencePipeline(std::shared_ptr<const Model> model, const PipelineOptions& options)
      : model_(std::move(model)), options_(checked_options(options)) {
    const at::NoGradGuard no_grad;
    const auto& config = model_->config;
    // SDXL's VAE overflows in half precision: where its config says so, it runs in float32.
    const bool half = options.dtype == at::kHalf || options.dtype == at::kBFloat16;
    const auto vae_options =
        half && config.is_sdxl() && config.vae.force_upcast ? options_.dtype(at::kFloat) : options_;
    for (std::size_t i = 0; i < config.text_encoders.size(); ++i) {
      text_encoders_.push_back(std::make_shared<TextEncoder>(config.text_encoders[i]));
      load_weights(*text_encoders_.back(), model_->text_encoder_weights[i], options_);
    }
    unet_ = std::make_shared<UNet2DCondition>(config.unet);
    load_weights(*unet_, model_->unet_weights, options_);
    vae_ = std::make_shared<AutoencoderKL>(config.vae);
    load_weights(*vae_, model_->vae_weights, vae_options);
    vae_dtype_ = vae_options.dtype().toScalarType();
  }

  Result generate(const Request& request, const Image& source, const GenerateOptions& options) override {
    const auto start = std::chrono::steady_clock::now();
    const at::NoGradGuard no_grad;
    const auto plan = plan_action(request, model_->config, source.width, source.height);
    Result result;
    result.seed = plan.seed;
    result.width = plan.width;
    result.height = plan.height;
    result.warnings = plan.warnings;

    Run run(*model_, request, options, plan, options_, result);
    try {
      const auto pixels = run.preprocess(source);                   // 1
      const auto conditioning = run.encode_prompt(text_encoders_);  // 2
      run.encode_source(*vae_, pixels.to(vae_dtype_));              // 3, 4
      run.denoise(*unet_, conditioning);                            // 5
      result.images = run.postprocess(run.decode(*vae_));           // 6
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::kGenerationFailed, run.where() + ": out of memory");
    } catch (const c10::Error& error) {  // libtorch's own: out of memory, sizes that do not fit
      throw Error(ErrorCode::kGenerationFailed, run.where() + ": " + error.what_without_backtrace());
    }
    result.total_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

 private:
  std::shared_ptr<const Model> model_;
  at::TensorOptions options_;
  at::ScalarType vae_dtype_ = at::kFloat;
  std::vector<std::shared_ptr<TextEncoder>> text_encoders_;
  std::shared_ptr<UNet2DCondition> unet_;
  std::shared_ptr<AutoencoderKL> vae_;
};

}  // namespace
}  // namespace reference

std::unique_ptr<Pipeline> make_reference_pipeline(std::shared_ptr<const Model> model, const PipelineOptions& options) {
  return std::make_unique<reference::ReferencePipeline>(std::move(model), options);
}

}  // namespace i2i
