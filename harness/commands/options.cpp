#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <filesystem>

#include "harness/commands/command.h"
#include "harness/implementations.h"
#include "harness/presets.h"
#include "interface/source_image.h"

namespace i2i {

void RunOptions::add_to(CLI::App& command) {
  command
      .add_option("--model", model,
                  "a name (i2i models), a folder in diffusers layout, or a safetensors file in an original layout")
      ->capture_default_str();
  command.add_option("--model-config", model_config,
                     "for a model in a single file: a folder with configs, tokenizer or scheduler in diffusers layout");
  command.add_option("--lora", lora, "FILE[:WEIGHT]: a LoRA file to merge into the model; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--device", device, "cpu, cuda, or cuda-emulated: CUDA's kernels executed on the CPU")
      ->capture_default_str();
  const CLI::Option* precision = command.add_option(
      "--dtype", dtype, "precision of the optimized implementation: fp32, bf16 or fp16; bf16 on cuda if not given");
  command.parse_complete_callback([this, precision] {
    if (precision->count() == 0 && device != "cpu") dtype = "bf16";
  });
  command.add_option("--scheduler", scheduler, "NAME[:key=value,...]; the model's own where not given");
  command.add_option("--preset", preset, "features by name: exact, balanced or fast (i2i features)");
  command.add_option("--features", features,
                     "optimisations to switch: name,-name,name=value,all,-all (i2i features); after the preset's");
  command
      .add_option("--guidance-rescale", guidance_rescale,
                  "0 to 1: how far guidance's result is brought back to the conditional one's deviation")
      ->capture_default_str();
  command.add_option("--noise", noise, "per-image or batch")->capture_default_str();
  command.add_option("--threads", threads, "threads to compute with; 0 leaves it to libtorch")->capture_default_str();
}

NoiseMode RunOptions::noise_mode() const {
  if (noise == "per-image") return NoiseMode::kPerImage;
  if (noise == "batch") return NoiseMode::kBatch;
  throw Error(ErrorCode::kUsage, fmt::format("--noise {}: known are per-image and batch", noise));
}

std::vector<LoraFile> RunOptions::loras() const {
  std::vector<LoraFile> files;
  for (const std::string& text : lora) files.push_back(parse_lora(text));
  return files;
}

std::string RunOptions::all_features() const { return features_of(preset, features); }

nlohmann::json write_pictures(const Result& result, const std::string& folder, const std::string& prefix) {
  std::filesystem::create_directories(folder);
  nlohmann::json images = nlohmann::json::array();
  for (std::int64_t image = 0; image < result.images.size(0); ++image) {
    const auto path = std::filesystem::absolute(std::filesystem::path(folder) / fmt::format("{}{}.png", prefix, image));
    write_png(to_image(result.images[image]), path.lexically_normal().string());
    images.push_back("file://" + path.lexically_normal().string());
  }
  return images;
}

ModelSource RunOptions::model_source() const { return {model, model_config}; }

GenerateOptions RunOptions::generate_options(const ModelConfig& config) const {
  GenerateOptions options;
  options.scheduler = resolve_scheduler(scheduler, config);
  options.noise = noise_mode();
  options.guidance_rescale = parse_guidance_rescale(guidance_rescale);
  options.savings = parse_features(all_features()).savings;
  return options;
}

void RunOptions::apply_threads() const {
  if (threads < 0) throw Error(ErrorCode::kUsage, fmt::format("--threads {} is below the minimum 0", threads));
  if (threads > 0) at::set_num_threads(threads);
}

}  // namespace i2i
