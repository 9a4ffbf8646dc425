#include <fmt/format.h>

#include <fstream>

#include "harness/promises.h"
#include "interface/source_image.h"

namespace i2i {

PromiseCases load_promise_cases(int count) {
  const std::string folder = I2I_SOURCE_DIR "/datasets/promises/";
  std::ifstream file(folder + "cases.json");
  if (!file) throw Error(ErrorCode::kGenerationFailed, folder + "cases.json cannot be opened");
  const nlohmann::json document = nlohmann::json::parse(file);
  const nlohmann::json& rows = document.at("cases");
  if (count < 1 || count > static_cast<int>(rows.size())) {
    throw Error(ErrorCode::kUsage,
                fmt::format("--seeds {} is outside 1 to {}, the cases there are", count, rows.size()));
  }
  PromiseCases result;
  result.negative_prompt = document.at("negative_prompt");
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const nlohmann::json& row = rows[i];
    PromiseCase one{load_source_image(folder + row.at("source").get<std::string>()),
                    load_source_image(folder + row.at("source_in_one_color").get<std::string>()),
                    row.at("prompt"),
                    row.at("prompt_without_color"),
                    row.at("prompt_without_place"),
                    row.at("prompt_for_negative"),
                    {}};
    for (const auto& wanted : row.at("wanted")) one.wanted.push_back({"", wanted[0], wanted[1], wanted[2], wanted[3]});
    result.cases.push_back(std::move(one));
  }
  return result;
}

}  // namespace i2i
