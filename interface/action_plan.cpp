#include "interface/action_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "interface/error.h"

namespace i2i {
namespace {

struct Size {
  std::int64_t width = 0;
  std::int64_t height = 0;
};

std::int64_t floor_to(std::int64_t side, std::int64_t factor) { return side / factor * factor; }

/// The source's own size fitted to the model: no larger than its native area, the aspect kept, never zero.
Size fitted_size(Size source, std::int64_t factor, std::int64_t native_area) {
  Size size{floor_to(source.width, factor), floor_to(source.height, factor)};
  if (size.width * size.height > native_area) {
    const double area = static_cast<double>(native_area);
    const double aspect = static_cast<double>(source.width) / static_cast<double>(source.height);
    // The root of a whole ratio is exact where it is whole, so a square source lands on the native size itself.
    size.width = floor_to(static_cast<std::int64_t>(std::sqrt(area * aspect) + 1e-6), factor);
    size.height = floor_to(static_cast<std::int64_t>(std::sqrt(area / aspect) + 1e-6), factor);
  }
  return {std::max(size.width, factor), std::max(size.height, factor)};
}

/// A side that was asked for, rounded down to the factor.
std::int64_t asked_side(const char* pointer, std::int64_t side, std::int64_t factor) {
  const std::int64_t floored = floor_to(side, factor);
  if (floored > 0) return floored;
  const std::string message =
      fmt::format("{}: {} is below the model's smallest side, {} pixels", pointer, side, factor);
  throw Error(ErrorCode::kInvalidRequest, message, {{pointer, ErrorCode::kInvalidRequest, message}});
}

/// The side that was left open beside one that was asked for: it keeps the source's aspect.
std::int64_t open_side(std::int64_t asked, std::int64_t source_open, std::int64_t source_asked, std::int64_t factor) {
  return std::max(floor_to(asked * source_open / source_asked, factor), factor);
}

Size effective_size(const Request& request, const ModelConfig& model, Size source) {
  const std::int64_t factor = model.vae_factor();
  const std::int64_t native_side = model.unet.sample_size * factor;
  if (request.width == 0 && request.height == 0) return fitted_size(source, factor, native_side * native_side);
  Size size;
  if (request.width > 0) size.width = asked_side("/width", request.width, factor);
  if (request.height > 0) size.height = asked_side("/height", request.height, factor);
  if (request.width == 0) size.width = open_side(request.height, source.width, source.height, factor);
  if (request.height == 0) size.height = open_side(request.width, source.height, source.width, factor);
  return size;
}

GuidanceMode guidance_mode(const Request& request, const ModelConfig& model) {
  if (model.unet.time_cond_proj_dim > 0) return GuidanceMode::kNone;  // the UNet is told the scale instead
  const bool text = request.guidance_scale != 1;
  if (!model.takes_source_as_condition()) return text ? GuidanceMode::kText : GuidanceMode::kNone;
  return text || request.image_guidance_scale != 1 ? GuidanceMode::kTextAndImage : GuidanceMode::kNone;
}

double default_image_guidance_scale() {
  return image_to_image_schema().at("/$defs/input/properties/image_guidance_scale/default"_json_pointer).get<double>();
}

std::vector<std::string> unused_parameters(const Request& request, const ModelConfig& model) {
  std::vector<std::string> warnings;
  if (model.unet.time_cond_proj_dim > 0 && !request.negative_prompt.empty())
    warnings.push_back(fmt::format("negative_prompt is not used: {} embeds the guidance scale", model.name));
  if (model.text_encoders.size() < 2 && request.prompt_2 && !request.prompt_2->empty() &&
      *request.prompt_2 != request.prompt)
    warnings.push_back(fmt::format("prompt_2 is not used: {} has one text encoder", model.name));
  if (!model.takes_source_as_condition() && request.image_guidance_scale != default_image_guidance_scale())
    warnings.push_back(fmt::format("image_guidance_scale {} is not used: {} does not see the source at each step",
                                   request.image_guidance_scale, model.name));
  return warnings;
}

}  // namespace

ActionPlan plan_action(const Request& request, const ModelConfig& model, int source_width, int source_height) {
  if (source_width < 1 || source_height < 1)
    throw Error(ErrorCode::kSourceImageError, fmt::format("the source is {} x {} pixels", source_width, source_height));
  const Size size = effective_size(request, model, {source_width, source_height});

  ActionPlan plan;
  plan.width = static_cast<int>(size.width);
  plan.height = static_cast<int>(size.height);

  plan.num_inference_steps = request.steps;
  plan.starts_from_noise = model.takes_source_as_condition() && request.strength == 1.0;
  // Truncation of a double, as diffusers has it: 100 * 0.29 gives 28.
  const int kept = static_cast<int>(request.steps * request.strength);
  plan.steps_to_run = plan.starts_from_noise ? request.steps : std::clamp(kept, 1, request.steps);
  plan.t_start = plan.num_inference_steps - plan.steps_to_run;

  plan.guidance = guidance_mode(request, model);
  plan.seed = request.seed ? *request.seed : std::random_device{}();
  plan.warnings = unused_parameters(request, model);
  return plan;
}

}  // namespace i2i
