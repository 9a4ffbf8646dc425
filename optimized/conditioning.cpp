#include "optimized/conditioning.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "optimized/loop_plan.h"

namespace i2i {

Conditioning row_of(const Conditioning& all, std::int64_t row) {
  Conditioning one;
  one.embeds = all.embeds.narrow(0, row, 1);
  if (all.pooled.defined()) one.pooled = all.pooled.narrow(0, row, 1);
  if (all.time_ids.defined()) one.time_ids = all.time_ids.narrow(0, row, 1);
  one.guidance_scale = all.guidance_scale;
  return one;
}

PromptEncoder::PromptEncoder(Runtime& runtime, const Model& model) : runtime_(&runtime), model_(&model) {
  for (std::size_t i = 0; i < model.config.text_encoders.size(); ++i)
    encoders_.emplace_back(runtime, model.config.text_encoders[i], model.text_encoder_weights[i]);
}

Conditioning PromptEncoder::operator()(const Request& request, const ActionPlan& plan, TraceSink* trace) const {
  const std::vector<TextStates> states = encode(request, plan.guidance != GuidanceMode::kNone, trace);
  Conditioning conditioning;
  conditioning.guidance_scale = request.guidance_scale;
  if (model_->config.is_sdxl()) {
    std::vector<at::Tensor> hidden;  // one encoder in the refiner, otherwise two
    for (const TextStates& encoder : states) hidden.push_back(encoder.penultimate_hidden);
    conditioning.embeds = at::cat(hidden, -1);
    conditioning.pooled = states.back().pooled;
    conditioning.time_ids = time_ids(plan);
  } else {
    conditioning.embeds = states[0].last_hidden;
  }
  if (plan.guidance == GuidanceMode::kTextAndImage) {  // [negative, positive] -> [positive, negative, negative]
    const at::Tensor order = runtime_->uploaded(at::tensor({1, 0, 0}, at::kLong));
    conditioning.embeds = conditioning.embeds.index_select(0, order);
    if (conditioning.pooled.defined()) conditioning.pooled = conditioning.pooled.index_select(0, order);
  }
  return conditioning;
}

/// What each encoder says: to the negative prompt, where there is guidance, and to the prompt.
std::vector<TextStates> PromptEncoder::encode(const Request& request, bool guided, TraceSink* trace) const {
  const std::string second = request.prompt_2 && !request.prompt_2->empty() ? *request.prompt_2 : request.prompt;
  std::vector<TextStates> states;
  for (std::size_t i = 0; i < encoders_.size(); ++i) {
    const Tokenizer& tokenizer = model_->tokenizers[i];
    std::vector<std::int64_t> ids;
    if (guided) ids = tokenizer.encode(request.negative_prompt);
    const auto positive = tokenizer.encode(i == 0 ? request.prompt : second);
    ids.insert(ids.end(), positive.begin(), positive.end());
    const at::Tensor rows = at::tensor(ids, at::kLong).view({guided ? 2 : 1, -1});
    if (trace != nullptr) trace->tensor(fmt::format("text.ids.{}", i), -1, rows);
    states.push_back(encoders_[i](rows));
  }
  return states;
}

/// What SDXL is told of sizes, in each guidance row; its refiner is told a score instead of the target's.
at::Tensor PromptEncoder::time_ids(const ActionPlan& plan) const {
  const double height = plan.height, width = plan.width;
  at::Tensor ids =
      at::tensor({height, width, 0.0, 0.0, height, width}, at::kFloat).repeat({guidance_rows(plan.guidance), 1});
  if (!model_->config.requires_aesthetics_score) return ids;
  ids = ids.narrow(1, 0, 5).contiguous();
  ids.select(1, 4).fill_(6.0);  // the scores that diffusers gives positive and negative prompts
  if (plan.guidance == GuidanceMode::kText) ids[0][4] = 2.5;
  return ids;
}

}  // namespace i2i
