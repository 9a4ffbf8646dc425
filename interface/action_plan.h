// What a request means for a model: size, steps, guidance passes, seed. The meaning of parameters, no arithmetic on
// samples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "interface/model_config.h"
#include "interface/request.h"

namespace i2i {

/// kNone: one conditional pass. kText: [negative, positive]. kTextAndImage: [text+image, image, neither] (semantics.md
/// section 10).
enum class GuidanceMode { kNone, kText, kTextAndImage };

struct ActionPlan {
  int width = 0;  ///< pixels, a multiple of the VAE's factor
  int height = 0;
  int num_inference_steps = 0;
  int steps_to_run = 0;            ///< max(1, min(int(n * strength), n))
  int t_start = 0;                 ///< num_inference_steps - steps_to_run; always 0 when starts_from_noise
  bool starts_from_noise = false;  ///< 8 channels and strength == 1: no VAE draw, noise * init_noise_sigma
  GuidanceMode guidance = GuidanceMode::kNone;
  std::uint64_t seed = 0;
  std::vector<std::string> warnings;
};

/// @throws Error(kInvalidRequest) where a size floors to 0
ActionPlan plan_action(const Request& request, const ModelConfig& model, int source_width, int source_height);

}  // namespace i2i
