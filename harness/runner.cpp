#include "harness/runner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "harness/compare.h"
#include "harness/implementations.h"
#include "harness/measure.h"
#include "harness/operator_profile.h"
#include "harness/presets.h"
#include "harness/statistics.h"
#include "interface/source_image.h"
#include "optimized/cuda/backend.h"

namespace i2i {
namespace {

std::string png_of(const at::Tensor& image) {
  const auto bytes = encode_png(to_image(image));
  return {bytes.begin(), bytes.end()};
}

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// One command that runs this cell alone: the request through standard input, both implementations.
std::string repeat_command(const Cell& cell, const std::string& model_config, const std::string& device,
                           const std::string& reference_device) {
  std::string command = fmt::format("i2i check - --model {}", quoted(cell.model));
  if (!model_config.empty()) command += " --model-config " + quoted(model_config);
  for (const LoraFile& lora : cell.loras) command += " --lora " + quoted(to_string(lora));
  if (!cell.scheduler.empty()) command += " --scheduler " + quoted(cell.scheduler);
  if (cell.dtype != "fp32") command += " --dtype " + cell.dtype;
  if (device != "cpu") command += " --device " + device;
  if (reference_device != "cpu") command += " --reference-device " + reference_device;
  if (cell.reference_dtype != "fp32") command += " --reference-dtype " + cell.reference_dtype;
  if (!cell.preset.empty()) command += " --preset " + cell.preset;
  if (!cell.features.empty()) command += " --features=" + quoted(cell.features);
  if (cell.guidance_rescale != 0) command += fmt::format(" --guidance-rescale {}", cell.guidance_rescale);
  return command + " <<< " + quoted(to_json(cell.request).dump());
}

constexpr const char* kGpu = "cuda";

bool is_latents(std::string_view name) { return name == "loop.latents_out"; }

OperatorTimes profile_run(Pipeline& pipeline, const Request& request, const Image& source,
                          const GenerateOptions& options, const Roofline& roofline) {
  const OperatorProfile profile(roofline);
  pipeline.generate(request, source, options);
  return profile.times();
}

}  // namespace

/// The first, traced run of one implementation.
struct Runner::Checked {
  Result result;
  CollectingTrace trace{is_latents};
  std::int64_t peak_bytes = 0, peak_device_bytes = 0;
};

CudaBackend* Runner::gpu() const {
  return device_ == kGpu || reference_device_ == kGpu ? &cuda_backend(kGpu) : nullptr;
}

/// What the pipeline keeps moves by what it keeps from this run or lets go.
Runner::Checked Runner::check(Loaded& loaded, const Request& request, const Image& source,
                              GenerateOptions options) const {
  Checked checked;
  options.trace = &checked.trace;
  const PeakMemory memory;
  const PeakDeviceMemory device_memory(gpu());
  checked.result = loaded.pipeline->generate(request, source, options);
  checked.peak_bytes = loaded.kept_bytes + memory.added_bytes();
  checked.peak_device_bytes = loaded.kept_device_bytes + device_memory.added_bytes();
  const std::int64_t handed_out =
      checked.trace.bytes() + static_cast<std::int64_t>(checked.result.images.nbytes());  // ours, not the pipeline's
  loaded.kept_bytes = std::max<std::int64_t>(0, loaded.kept_bytes + memory.kept_bytes() - handed_out);
  loaded.kept_device_bytes += device_memory.kept_bytes();
  return checked;
}

const Model& Runner::model(const std::string& name, const std::vector<LoraFile>& loras) {
  if (loaded_model_name_ != name || loaded_loras_ != loras || loaded_model_ == nullptr) {
    pipelines_.clear();  // two large models at once would not fit
    loaded_model_.reset();
    source_.path_or_name = name;
    loaded_model_ = with_loras(load_model(source_), loras);
    loaded_model_name_ = name;
    loaded_loras_ = loras;
  }
  return *loaded_model_;
}

const Image& Runner::source(const std::string& address) {
  auto found = sources_.find(address);
  if (found == sources_.end()) found = sources_.emplace(address, load_source_image(address)).first;
  return found->second;
}

Pipeline& Runner::pipeline(const std::string& implementation, const std::string& model_name, const std::string& dtype,
                           const std::string& features, const std::vector<LoraFile>& loras) {
  return *loaded(implementation, model_name, dtype, features, loras).pipeline;
}

Runner::Loaded& Runner::loaded(const std::string& implementation, const std::string& model_name,
                               const std::string& dtype, const std::string& features,
                               const std::vector<LoraFile>& loras) {
  model(model_name, loras);
  const bool takes_features = implementation != implementation_names().front();
  std::map<std::string, bool> switches;  // what a run leaves out is told to each run
  if (takes_features) switches = parse_features(features).switches;
  std::string key = implementation + "|" + dtype;
  for (const auto& [name, on] : switches) key += fmt::format("|{}{}", on ? "" : "-", name);
  // A GPU need not hold the weights once for each choice of features.
  if (takes_features && device_ == kGpu && !pipelines_.contains(key))
    std::erase_if(pipelines_, [&](const auto& entry) { return entry.first.starts_with(implementation + "|"); });
  Loaded& slot = pipelines_[key];
  if (slot.pipeline == nullptr) {
    PipelineOptions options;
    options.dtype = parse_dtype(dtype);
    options.device = takes_features ? device_ : reference_device_;
    if (takes_features) options.features = std::move(switches);
    const PeakMemory memory;
    const PeakDeviceMemory device_memory(gpu());
    slot.pipeline = make_pipeline(implementation, loaded_model_, options);
    slot.kept_bytes = std::max<std::int64_t>(0, memory.kept_bytes());
    slot.kept_device_bytes = device_memory.kept_bytes();
  }
  return slot;
}

CellRow Runner::run(const Sweep& sweep, const Cell& cell) {
  CellRow row;
  row.index = cell.index;
  row.axes = cell.axes;
  row.command = repeat_command(cell, source_.config_folder, device_, reference_device_);
  try {
    Request request = cell.request;
    if (!request.seed) request.seed = 0;  // both sides must draw the same noise
    const Image& picture = source(request.source_image);
    GenerateOptions options;
    options.scheduler = resolve_scheduler(cell.scheduler, model(cell.model, cell.loras).config);
    options.noise = noise_;
    options.guidance_rescale = cell.guidance_rescale;
    const std::string features = features_of(cell.preset, cell.features);
    options.savings = parse_features(features).savings;
    Loaded& loaded_reference = loaded("reference", cell.model, cell.reference_dtype, "", cell.loras);
    Loaded& loaded_optimized = loaded("optimized", cell.model, cell.dtype, features, cell.loras);
    Pipeline &reference = *loaded_reference.pipeline, &optimized = *loaded_optimized.pipeline;

    const Checked reference_check = check(loaded_reference, request, picture, options),
                  optimized_check = check(loaded_optimized, request, picture, options);
    const at::Tensor& images = reference_check.result.images;
    row.warnings = optimized_check.result.warnings;
    row.latents_drift = latents_drift(reference_check.trace, optimized_check.trace);
    row.reference_png = png_of(images[0]);
    row.optimized_png = png_of(optimized_check.result.images[0]);
    const auto source_png =
        encode_png(resize_lanczos(picture, static_cast<int>(images.size(2)), static_cast<int>(images.size(1))));
    row.source_png.assign(source_png.begin(), source_png.end());

    nlohmann::json bounds = bounds_of(cell.preset, cell.features, cell.dtype);
    bounds.update(sweep.bounds);
    std::string problem;
    row.metrics = compare_images(images, optimized_check.result.images, sweep.metrics, bounds, problem);
    MetricRow latents;
    latents.name = "latents_max_abs";
    for (const double distance : row.latents_drift) latents.value = std::max(latents.value, distance);
    row.metrics.push_back(latents);
    if (!problem.empty()) {
      row.verdict = "failed";
      row.reason = problem;
      return row;  // a failed cell has no latency
    }
    row.reason = mistrust_reason(images, picture);
    row.verdict = row.reason.empty() ? "passed" : "mistrusted";
    if (device_ == kEmulatedDevice) {
      row.warnings.emplace_back("emulated: CUDA's kernels ran on the CPU, no GPU has run this; nothing is timed");
      return row;
    }

    std::vector<Result> reference_runs, optimized_runs;
    const auto time = [&](Pipeline& timed, std::vector<Result>& runs) {
      runs.push_back(timed.generate(request, picture, options));
      runs.back().images = at::Tensor();  // only the times are kept
      // Eager operators return before a GPU has run them: of such a run only the end, where it waits, is a time.
      if (&timed == &reference && reference_device_ == kGpu) runs.back().stages.clear();
    };
    for (int i = -sweep.warmup; i < sweep.repetitions; ++i) {
      if (i == 0) {
        reference_runs.clear();
        optimized_runs.clear();
      }
      // A/B/B/A: whoever goes first changes, so that a machine that speeds up or slows down favours neither.
      if (i % 2 == 0) {
        time(reference, reference_runs);
        time(optimized, optimized_runs);
      } else {
        time(optimized, optimized_runs);
        time(reference, reference_runs);
      }
    }
    std::vector<OperatorTimes> reference_profiles, optimized_profiles;
    for (int i = 0; i < sweep.profile; ++i) {
      if (!roofline_) roofline_ = measure_roofline();
      reference_profiles.push_back(profile_run(reference, request, picture, options, *roofline_));
      optimized_profiles.push_back(profile_run(optimized, request, picture, options, *roofline_));
    }
    row.implementations.push_back(summarize_runs("reference", reference_runs));
    row.implementations.back().operators = summarize_profiles(reference_profiles);
    row.implementations.back().cold_ms = reference_check.result.total_ms;
    row.implementations.back().peak_host_bytes = reference_check.peak_bytes;
    row.implementations.back().peak_device_bytes = reference_check.peak_device_bytes;
    row.implementations.push_back(summarize_runs("optimized", optimized_runs));
    row.implementations.back().operators = summarize_profiles(optimized_profiles);
    row.implementations.back().cold_ms = optimized_check.result.total_ms;
    row.implementations.back().peak_host_bytes = optimized_check.peak_bytes;
    row.implementations.back().peak_device_bytes = optimized_check.peak_device_bytes;
    row.speedup = paired_ratio(row.implementations[0].total_ms.samples, row.implementations[1].total_ms.samples);
    row.speedup_verdict = judge_ratio(*row.speedup);
  } catch (const Error& error) {
    row.verdict = error.code() == ErrorCode::kUsage ? "unsupported" : "failed";
    row.reason = error.what();
  }
  return row;
}

}  // namespace i2i
