// The goldens have the last bits of AMD processors, where MKL's square roots and logarithms, which are libtorch's, are
// now and then a unit off in the last place. On Intel's they are not, so that diffusers itself has other sigmas there,
// by that unit, and what follows from them.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "harness/goldens.h"

namespace i2i {

/// Whether square roots have here the last bits that they have in the goldens: sigmas of Stable Diffusion's table, as
/// Euler with timestep_spacing "leading" took them from it.
inline bool rounds_like_the_goldens() {
  static const bool alike = [] {
    const std::string stem = golden::default_folder() + "schedules";
    const nlohmann::json document = golden::read_json(stem + ".json");
    const Weights tensors = read_safetensors(stem + ".safetensors");
    const at::Tensor betas = at::linspace(std::sqrt(0.00085), std::sqrt(0.012), 1000, at::kFloat).square();
    const at::Tensor alphas_cumprod = at::cumprod(1 - betas, 0);
    const at::Tensor table = ((1 - alphas_cumprod) / alphas_cumprod).sqrt();
    const nlohmann::json wanted = {{"_class_name", "EulerDiscreteScheduler"},
                                   {"beta_start", 0.00085},
                                   {"beta_end", 0.012},
                                   {"beta_schedule", "scaled_linear"},
                                   {"timestep_spacing", "leading"},
                                   {"prediction_type", "epsilon"},
                                   {"steps_offset", 1}};
    for (const auto& entry : document.at("schedules")) {
      if (entry.at("config") != wanted) continue;
      const at::Tensor timesteps = tensors.at(entry.at("timesteps")), sigmas = tensors.at(entry.at("sigmas"));
      std::int64_t first_timestep = 0, first_sigma = 0;
      for (std::size_t i = 0; i < entry.at("steps").size(); ++i) {
        const std::int64_t count = entry.at("entries")[i];
        const at::Tensor at_timesteps = table.index_select(0, timesteps.narrow(0, first_timestep, count).to(at::kLong));
        if (!at::equal(at_timesteps, sigmas.narrow(0, first_sigma, count).to(at::kFloat))) return false;
        first_timestep += count;
        first_sigma += entry.at("levels")[i].get<std::int64_t>();
      }
      return true;
    }
    throw std::runtime_error("schedules.json has no Euler with timestep_spacing leading");
  }();
  return alike;
}

/// What comes on top of a tolerance on a processor that rounds otherwise; nothing where it rounds alike.
struct LastBits {
  double sigmas = 0;     ///< relative
  double samples = 0;    ///< relative
  double timesteps = 0;  ///< absolute

  explicit LastBits(const nlohmann::json& config) {
    if (rounds_like_the_goldens()) return;
    sigmas = samples = 0x1p-20;  // eight units of a sigma, of which schedulers take differences
    // Where the last root is taken from all, the small ones are what is left.
    if (config.value("rescale_betas_zero_snr", false)) sigmas = 0x1p-18;
    // A Brownian tree asked at a time that is off by a unit is off by that unit's root; so is the root of a difference
    // of squares, DPM2 ancestral's level below the next, and with it the middle on the way there.
    const auto name = config.at("_class_name").get<std::string>();
    if (name == "DPMSolverSDEScheduler" || name == "KDPM2AncestralDiscreteScheduler") {
      samples = 4 * 0x1p-11;
      timesteps = 0.02;
    }
  }
};

}  // namespace i2i
