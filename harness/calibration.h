// What each layer's rounding to bytes does to what its network gives out, and which layers to spare it. Called by
// `i2i calibrate`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "interface/image.h"
#include "interface/pipeline.h"

namespace i2i {

/// One layer alone in int8, all others in fp32.
struct LayerSensitivity {
  std::string layer;
  std::string network;  ///< unet, encoder or decoder
  double error = 0;     ///< of what the network gives out: root mean square of the difference over that of the value
  double share = 0;     ///< of the network's operations that int8 can run
};

struct Calibration {
  std::vector<LayerSensitivity> layers;     ///< dearest first: most error per operation
  std::vector<std::string> layers_in_fp32;  ///< the first so many of them that the rest keeps to the budget
  std::vector<std::pair<std::string, double>> error_of_all,  ///< per network, measured with every layer in int8
      error_left;                                            ///< and without layers_in_fp32
};

using CalibrationRequest = std::pair<Request, Image>;

/// Runs every request once per layer, step-locked to the fp32 run.
/// @param budget   error that int8 may cause in what each network gives out; errors of layers add up as squares
/// @param at_layer called before each layer with its number and how many there are
/// @throws Error(kUsage) where a request's noise differs from run to run (no seed) or no layer can run in int8
Calibration calibrate(const std::shared_ptr<const Model>& model, const std::vector<CalibrationRequest>& requests,
                      const GenerateOptions& options, double budget,
                      const std::function<void(std::size_t, std::size_t)>& at_layer);

/// Chooses by error per operation until what is left, added up as squares, keeps to the budget in each network.
std::vector<std::string> layers_to_keep(std::vector<LayerSensitivity>& layers, double budget);

}  // namespace i2i
