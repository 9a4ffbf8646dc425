// Scheduler configurations as they were published with each family, for models that bring none: the synthetic ones and
// single files.
#pragma once

#include <nlohmann/json.hpp>

namespace i2i {

nlohmann::json sd15_scheduler();              ///< PNDM
nlohmann::json sd21_scheduler();              ///< DDIM, v prediction: SD 2.1 at 768 pixels
nlohmann::json sdxl_scheduler();              ///< Euler, also the refiner's
nlohmann::json instruct_pix2pix_scheduler();  ///< Euler ancestral
nlohmann::json lcm_scheduler();               ///< LCM

/// EDM Euler with v prediction, as CosXL is run with. @param sigma_min, sigma_max  from the file
nlohmann::json cosxl_scheduler(double sigma_min, double sigma_max);

}  // namespace i2i
