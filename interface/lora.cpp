#include "interface/lora.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/lora_names.h"
#include "interface/lora_scale.h"

namespace i2i {
namespace {

/// What a file holds for one module.
struct Factors {
  std::string name;  ///< the module as the file spells it
  at::Tensor down, up, alpha;
  bool broken = false;  ///< a problem of its own has been told
};

using FactorsOfModules = std::map<LoraTargets::Target, Factors>;

std::string shape_text(const at::Tensor& tensor) { return fmt::format("[{}]", fmt::join(tensor.sizes(), ",")); }

at::Tensor& part_of(Factors& factors, LoraPart part) {
  switch (part) {
    case LoraPart::kDown:
      return factors.down;
    case LoraPart::kUp:
      return factors.up;
    default:
      return factors.alpha;
  }
}

/// Sorts the file's tensors by the module that they adapt.
FactorsOfModules sort_factors(const Weights& stored, const LoraTargets& targets, std::vector<std::string>& problems) {
  FactorsOfModules modules;
  for (const auto& [key, tensor] : stored) {
    const auto problem = [&problems, &key = key](const std::string& what) {
      problems.push_back(fmt::format("{}: {}", key, what));
    };
    if (const auto method = other_adapter_method(key); !method.empty()) {
      problem(fmt::format("belongs to {}, which is not supported", method));
      continue;
    }
    const auto named = parse_lora_key(key);
    if (!named) {
      problem("is no part of a LoRA");
      continue;
    }
    const auto found = targets.find(named->module);
    if (found.size() != 1) {
      problem(found.empty() ? "leads to no tensor of the model" : "could be of text_encoder or of text_encoder_2");
      continue;
    }
    Factors& factors = modules[found.front()];
    at::Tensor& part = part_of(factors, named->part);
    const std::size_t before = problems.size();
    const bool is_alpha = named->part == LoraPart::kAlpha;
    if (part.defined()) problem(fmt::format("leads to the same tensor as {} does", factors.name));
    if (is_alpha ? tensor.numel() != 1 : tensor.dim() != 2 && tensor.dim() != 4)
      problem(
          fmt::format("has shape {}, {} needed", shape_text(tensor), is_alpha ? "one number is" : "2 or 4 sides are"));
    else if (!is_alpha && !at::isFloatingType(tensor.scalar_type()))
      problem(fmt::format("holds {}, not floating point", c10::toString(tensor.scalar_type())));
    else if (!tensor.to(at::kFloat).isfinite().all().item<bool>())
      problem("holds NaN or infinity");
    if (factors.name.empty()) factors.name = named->module;
    factors.broken |= problems.size() > before;
    part = tensor;
  }
  return modules;
}

/// A linear layer is a convolution with a kernel of 1 x 1, and files take one for the other.
std::vector<std::int64_t> as_convolution(const at::Tensor& tensor) {
  std::vector<std::int64_t> sides = tensor.sizes().vec();
  sides.resize(4, 1);
  return sides;
}

void check_factors(const Factors& factors, const at::Tensor& weight, std::vector<std::string>& problems) {
  const auto problem = [&](const std::string& what) { problems.push_back(fmt::format("{}: {}", factors.name, what)); };
  if (factors.broken) return;
  if (!factors.down.defined() && !factors.up.defined()) return problem("has alpha and no weights");
  if (!factors.down.defined()) return problem("has no down weight beside its up weight");
  if (!factors.up.defined()) return problem("has no up weight beside its down weight");
  const auto down = as_convolution(factors.down), up = as_convolution(factors.up), base = as_convolution(weight);
  const auto shapes = fmt::format("down {}, up {}", shape_text(factors.down), shape_text(factors.up));
  if (down[0] != up[1] || down[0] == 0)
    problem(fmt::format("has rank {} and {} ({})", down[0], up[1], shapes));
  else if (up != std::vector{base[0], down[0], std::int64_t{1}, std::int64_t{1}} ||
           !std::equal(base.begin() + 1, base.end(), down.begin() + 1))
    problem(fmt::format("does not make a weight of {} ({})", shape_text(weight), shapes));
}

double scale_of(const LoraTargets::Target& target, const Factors& factors,
                const std::map<std::string, LoraConfig>& configs) {
  const std::int64_t rank = factors.down.size(0);
  if (factors.alpha.defined()) return factors.alpha.item<double>() / static_cast<double>(rank);
  for (const std::string& key : {target.first, std::string()}) {
    if (const auto config = configs.find(key); config != configs.end())
      return config->second.scale(target.second, rank);
  }
  return 1;
}

/// @return weight + scale * up @ down in float32 (float64 where the weight is)
at::Tensor merged(const at::Tensor& weight, const Factors& factors, double scale) {
  const auto dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor product = at::mm(factors.up.to(dtype).flatten(1), factors.down.to(dtype).flatten(1));
  return at::add(weight.to(dtype), product.mul_(scale).view(weight.sizes()));
}

Weights& weights_of(Model& model, const std::string& component) {
  if (component == "unet") return model.unet_weights;
  return component == "text_encoder" ? model.text_encoder_weights.front() : model.text_encoder_weights.back();
}

void merge(const LoraFile& lora, const LoraTargets& targets, Model& model) {
  const Weights stored = read_safetensors(lora.path);
  if (stored.empty()) throw_broken_file(lora.path, "holds no tensors");
  std::vector<std::string> problems;
  const FactorsOfModules modules = sort_factors(stored, targets, problems);
  const auto weight_of = [&](const LoraTargets::Target& target) -> at::Tensor& {
    return weights_of(model, target.first).at(target.second + ".weight");
  };
  for (const auto& [target, factors] : modules) check_factors(factors, weight_of(target), problems);
  if (!problems.empty())
    throw_broken_file(lora.path, fmt::format("{} of its tensors do not fit {}: {}", problems.size(), model.config.name,
                                             fmt::join(problems, "; ")));

  const bool peft_keys = std::any_of(
      stored.begin(), stored.end(), [](const auto& item) { return item.first.find(kPeftPrefix) != std::string::npos; });
  const auto configs = read_lora_configs(lora.path, peft_keys);
  if (lora.weight == 0) return;
  for (const auto& [target, factors] : modules) {
    at::Tensor& weight = weight_of(target);
    const at::Tensor before = weight;
    weight = merged(before, factors, lora.weight * scale_of(target, factors, configs));
    release_pages(before);  // so that no weight is in memory twice
    if (!weight.isfinite().all().item<bool>())
      throw_broken_file(lora.path,
                        fmt::format("{}: the merged weight is not finite at weight {}", factors.name, lora.weight));
  }
}

}  // namespace

LoraFile parse_lora(const std::string& text) {
  LoraFile lora{text, 1};
  const auto colon = text.rfind(':');
  const std::string weight = colon == text.npos ? "" : text.substr(colon + 1);
  if (colon != text.npos && weight.find('/') == weight.npos && !weight.ends_with(".safetensors")) {
    lora.path = text.substr(0, colon);
    const auto [end, problem] = std::from_chars(weight.data(), weight.data() + weight.size(), lora.weight);
    if (problem != std::errc() || end != weight.data() + weight.size() || !std::isfinite(lora.weight))
      throw Error(ErrorCode::kUsage, fmt::format("--lora {}: \"{}\" is no finite weight", text, weight));
  }
  if (lora.path.empty()) throw Error(ErrorCode::kUsage, fmt::format("--lora {}: no file is named", text));
  return lora;
}

std::string to_string(const LoraFile& lora) { return fmt::format("{}:{}", lora.path, lora.weight); }

std::shared_ptr<const Model> with_loras(std::shared_ptr<const Model> model, const std::vector<LoraFile>& loras) {
  if (loras.empty()) return model;
  const c10::NoGradGuard no_grad;
  const auto changed = std::make_shared<Model>(*model);
  model.reset();
  const LoraTargets targets(*changed);
  for (const LoraFile& lora : loras) merge(lora, targets, *changed);
  return changed;
}

}  // namespace i2i
