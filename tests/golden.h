// Reads what datasets/goldens/make_goldens.py stored: requests with diffusers' tensors for each stage, and schedules.
// Only tests include this. The format is described in datasets/goldens/README.md.
#pragma once

#include <ATen/ATen.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "interface/model_files.h"
#include "interface/pipeline.h"
#include "interface/request.h"

namespace i2i::golden {

inline const std::string kFolder = std::string(I2I_SOURCE_DIR) + "/datasets/goldens/";

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kGenerationFailed, path + ": cannot be opened");
  return nlohmann::json::parse(file);
}

/// One stage of one case as diffusers has it.
struct Stage {
  at::Tensor value;             ///< where `steps` is not empty: only these steps, stacked
  std::vector<int> steps;       ///< executed steps that are stored; empty means all
  double largest = 0;           ///< largest magnitude over all steps
  double float64_distance = 0;  ///< how far diffusers' float32 is from its own float64
};

struct Case {
  std::string family;
  std::string name;
  std::string model_folder;
  std::string scheduler;  ///< as resolve_scheduler takes it
  Request request;        ///< source_image is an absolute path
  double guidance_rescale = 0;
  std::map<std::string, Stage> stages;
};

inline std::vector<Case> read_cases(const std::string& family) {
  const auto document = read_json(kFolder + family + ".json");
  const auto tensors = read_safetensors(kFolder + family + ".safetensors");
  std::vector<Case> cases;
  for (const auto& entry : document.at("cases")) {
    Case one{family, entry.at("name"), kFolder + document.at("model").get<std::string>(), entry.at("scheduler"), {}, 0,
             {}};
    if (entry.contains("options")) one.guidance_rescale = entry.at("options").value("guidance_rescale", 0.0);
    auto request = entry.at("request");
    request["source_image"] = kFolder + request.at("source_image").get<std::string>();
    one.request = parse_request(request);
    for (const auto& [stage, stored] : entry.at("stages").items()) {
      one.stages[stage] = {tensors.at(stored.at("tensor")), stored.value("steps", std::vector<int>{}),
                           stored.at("largest"), stored.at("float64_distance")};
    }
    cases.push_back(std::move(one));
  }
  return cases;
}

/// Keeps everything that a pipeline hands out: stages once, loop stages per executed step.
class Collector final : public TraceSink {
 public:
  void tensor(std::string_view name, int step, const at::Tensor& value) override {
    auto& values = stages_[std::string(name)];
    if (step >= 0 && static_cast<std::size_t>(step) != values.size()) out_of_order_.emplace_back(name);
    values.push_back(value.detach().to(at::kCPU).clone());
  }

  const std::map<std::string, std::vector<at::Tensor>>& stages() const { return stages_; }
  /// Loop stages whose steps did not come as 0, 1, 2, ...
  const std::vector<std::string>& out_of_order() const { return out_of_order_; }

 private:
  std::map<std::string, std::vector<at::Tensor>> stages_;
  std::vector<std::string> out_of_order_;
};

}  // namespace i2i::golden
