#include "interface/published_schedulers.h"

namespace i2i {
namespace {

using Json = nlohmann::json;

/// Keys that every published Stable Diffusion scheduler has.
Json scheduler(const char* class_name, const Json& more) {
  Json config = {{"_class_name", class_name},        {"beta_start", 0.00085},  {"beta_end", 0.012},
                 {"beta_schedule", "scaled_linear"}, {"clip_sample", false},   {"num_train_timesteps", 1000},
                 {"set_alpha_to_one", false},        {"skip_prk_steps", true}, {"steps_offset", 1},
                 {"trained_betas", nullptr}};
  config.update(more);
  return config;
}

}  // namespace

Json sd15_scheduler() { return scheduler("PNDMScheduler", Json::object()); }

Json sd21_scheduler() { return scheduler("DDIMScheduler", {{"prediction_type", "v_prediction"}}); }

Json sdxl_scheduler() {
  return scheduler("EulerDiscreteScheduler", {{"prediction_type", "epsilon"},
                                              {"timestep_spacing", "leading"},
                                              {"interpolation_type", "linear"},
                                              {"use_karras_sigmas", false},
                                              {"sample_max_value", 1.0}});
}

Json instruct_pix2pix_scheduler() { return scheduler("EulerAncestralDiscreteScheduler", Json::object()); }

Json lcm_scheduler() {
  return scheduler("LCMScheduler",
                   {{"original_inference_steps", 50}, {"set_alpha_to_one", true}, {"timestep_scaling", 10.0}});
}

Json cosxl_scheduler(double sigma_min, double sigma_max) {
  return {{"_class_name", "EDMEulerScheduler"},
          {"sigma_min", sigma_min},
          {"sigma_max", sigma_max},
          {"sigma_data", 1.0},
          {"sigma_schedule", "exponential"},
          {"prediction_type", "v_prediction"}};
}

}  // namespace i2i
