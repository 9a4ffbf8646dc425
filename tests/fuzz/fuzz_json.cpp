// Random texts for everything that reads JSON from strangers: the files of a model folder, and requests. An accepted
// document is no deeper than promised and survives its own text; a config that is accepted has a layout that can be
// held in memory, with sizes that are sizes.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "interface/json_file.h"
#include "interface/model_files.h"
#include "interface/request.h"
#include "interface/scheduler_spec.h"
#include "tests/fuzz/fuzz.h"

namespace i2i::fuzz {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 16;
// Twice what the largest published text encoder or UNet has would still be far below.
constexpr std::size_t kMaxLayout = 1'000'000;

int depth_of(const Json& value) {
  int deepest = 0;
  if (value.is_structured())
    for (const Json& item : value) deepest = std::max(deepest, depth_of(item));
  return deepest + (value.is_structured() ? 1 : 0);
}

void check_layout(const CheckpointLayout& layout) {
  require(!layout.empty() && layout.size() <= kMaxLayout, "a layout is of a bearable size");
  std::set<std::string_view> names;
  for (const auto& [name, shape] : layout) {
    require(names.insert(name).second, "no two tensors have one name");
    for (const std::int64_t side : shape) require(side > 0, "sizes are above 0");
  }
}

/// Each reader sees the documents that name something of its own, so that a run is not spent on layouts of defaults.
void read_model_configs(const Json& document) {
  const auto layout_of = [&](const char* key, auto parse, auto layout) {
    if (!document.is_object() || !document.contains(key)) return;
    if (accepts(ErrorCode::kGenerationFailed, [&] { parse(document); })) check_layout(layout(parse(document)));
  };
  layout_of("hidden_size", parse_text_encoder_config, text_encoder_layout);
  layout_of("cross_attention_dim", parse_unet_config, unet_layout);
  layout_of("latent_channels", parse_vae_config, vae_layout);
  if (!document.is_object() || !document.contains("_class_name")) return;
  ModelConfig model;
  model.scheduler = document;
  try {
    const SchedulerSpec spec = resolve_scheduler("", model);
    require(spec.config.is_object() && !spec.class_name.empty(), "a scheduler has a class and a configuration");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::kUsage || error.code() == ErrorCode::kGenerationFailed,
            "a scheduler is refused with its code");
  }
}

void read_request(std::string_view text) {
  try {
    const Request request = parse_request(text);
    require(request.strength > 0 && request.strength <= 1, "strength is within its bounds");
    require(request.steps >= 1 && request.steps <= 50, "steps are within their bounds");
    require(request.batch_size >= 1 && request.batch_size <= 8, "batch_size is within its bounds");
    require(to_json(parse_request(to_json(request))) == to_json(request), "a request survives the way back");
  } catch (const Error& error) {
    require(!error.violations().empty() && error.code() != ErrorCode::kUsage, "a refusal names what is wrong");
    require(!to_json(error).dump().empty(), "a refusal can be printed");
  }
}

}  // namespace
}  // namespace i2i::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace i2i;
  ++fuzz::count.inputs;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::read_request(text);
  nlohmann::json document;
  if (!fuzz::accepts(ErrorCode::kGenerationFailed, [&] { document = parse_json(text, "fuzz"); })) return 0;
  ++fuzz::count.accepted;
  fuzz::require(fuzz::depth_of(document) <= fuzz::kMaxDepth, "no document is deeper than promised");
  fuzz::require(parse_json(document.dump(), "again") == document, "a document survives its own text");
  fuzz::read_model_configs(document);
  return 0;
}
