// The calibration that may lie in a model's folder: which layers do not bear being rounded to bytes. Written by
// `i2i calibrate`, read by the optimized implementation where int8 is asked for.
#pragma once

#include <string>
#include <vector>

namespace i2i {

/// `layers_in_fp32` of MODEL/int8.json: layers of UNet and VAE that stay fp32. Empty where there is no such file.
/// @param path_or_name  as load_model has it
/// @throws Error(kGenerationFailed) for a file that holds something else
std::vector<std::string> layers_in_fp32(const std::string& path_or_name);

}  // namespace i2i
