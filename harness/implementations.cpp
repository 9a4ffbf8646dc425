#include "harness/implementations.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include "optimized/cuda/backend.h"
#include "optimized/features.h"
#include "optimized/pipeline.h"
#include "optimized/step_plan.h"
#include "reference/pipeline.h"

namespace i2i {

const std::vector<std::string>& implementation_names() {
  static const std::vector<std::string> names = {
#define I2I_IMPLEMENTATION(name, factory) #name,
#include "harness/implementations.inc"
#undef I2I_IMPLEMENTATION
  };
  return names;
}

std::unique_ptr<Pipeline> make_pipeline(const std::string& implementation, std::shared_ptr<const Model> model,
                                        const PipelineOptions& options) {
  // libtorch's CUDA half is loaded for whoever computes there; what is missing is said.
  if (options.device == "cuda") cuda_backend(options.device);
#define I2I_IMPLEMENTATION(name, factory) \
  if (implementation == #name) return factory(std::move(model), options);
#include "harness/implementations.inc"
#undef I2I_IMPLEMENTATION
  if (implementation.starts_with("remote:")) {
    std::string variable = "I2I_REMOTE_" + implementation.substr(7) + "_URL";
    std::transform(variable.begin(), variable.end(), variable.begin(), [](unsigned char c) { return std::toupper(c); });
    const char* url = std::getenv(variable.c_str());
    throw Error(ErrorCode::kInvalidConnection,
                url == nullptr
                    ? fmt::format("the remote provider '{}' is not configured: {} is not set", implementation.substr(7),
                                  variable)
                    : fmt::format("the remote provider '{}' at {} cannot be used: this build has no client for it",
                                  implementation.substr(7), url));
  }
  throw Error(ErrorCode::kUsage, fmt::format("there is no implementation '{}'; known: {}", implementation,
                                             fmt::join(implementation_names(), ", ")));
}

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "fp16") return at::kHalf;
  if (name == "fp64") return at::kDouble;
  throw Error(ErrorCode::kUsage, fmt::format("there is no dtype '{}'; known: fp32, bf16, fp16, fp64", name));
}

double parse_guidance_rescale(const std::string& text) {
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || !(value >= 0 && value <= 1)) {
    throw Error(ErrorCode::kUsage, fmt::format("guidance_rescale '{}' is not a number in [0, 1]", text));
  }
  return value;
}

bool FeatureChoice::lossy() const {
  const Features chosen = make_features(switches);
  return savings.any() || std::ranges::any_of(known_features(), [&](const FeatureDescription& feature) {
           return !feature.exact && chosen.*feature.on;
         });
}

FeatureChoice parse_features(const std::string& text) {
  FeatureChoice choice;
  std::istringstream names(text);
  for (std::string name; std::getline(names, name, ',');) {
    const bool on = !name.starts_with('-');
    if (!on) name.erase(0, 1);
    if (name.empty() || name == "default") continue;
    if (name == "all") {
      for (const FeatureDescription& feature : known_features()) {
        if (feature.by_default || !on) choice.switches[feature.name] = on;
      }
      if (!on) choice.savings = {};
      continue;
    }
    const auto equals = name.find('=');
    const std::string value = equals == std::string::npos ? "" : name.substr(equals + 1);
    name.erase(std::min(equals, name.size()));
    if (on ? switch_on(choice.savings, name, value) : switch_off(choice.savings, name)) continue;
    if (equals != std::string::npos &&
        std::ranges::any_of(known_features(), [&](const auto& feature) { return feature.name == name; })) {
      throw Error(ErrorCode::kUsage, fmt::format("{}={}: this feature has no value, it is on or off", name, value));
    }
    choice.switches[name] = on;
  }
  make_features(choice.switches);  // names what is unknown
  return choice;
}

}  // namespace i2i
