#include "harness/promises.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "harness/metrics/metric.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

// The action's own defaults, but for what a promise varies.
Request base_request(const std::string& prompt, std::uint64_t seed, int steps) {
  Request request =
      parse_request(nlohmann::json{{"source_image", "case"}, {"prompt", prompt}, {"negative_prompt", ""}});
  request.strength = 1;
  request.steps = steps;
  request.seed = seed;
  return request;
}

at::Tensor to_tensor(const Image& image) {
  return at::from_blob(const_cast<std::uint8_t*>(image.rgb.data()), {image.height, image.width, 3}, at::kByte)
             .to(at::kFloat) /
         255;
}

// The mean over cases with its normal interval: shares of hits have useless medians.
Interval mean_interval(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  double square = 0;
  for (const double value : values) square += (value - mean) * (value - mean);
  const double error =
      values.size() < 2
          ? 0
          : 1.96 * std::sqrt(square / static_cast<double>(values.size() - 1) / static_cast<double>(values.size()));
  return {mean, mean - error, mean + error, values};
}

class Measurement {
 public:
  Measurement(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseCases& cases, int steps,
              const std::function<void(const std::string&)>& progress)
      : pipeline_(pipeline), cases_(cases), steps_(steps), progress_(progress), reader_(load_world()) {
    options_.scheduler = scheduler;
  }

  std::vector<PromiseRow> all() {
    return {strength(), image_guidance(), guidance(), more_steps(), negative_prompt(), second_prompt()};
  }

 private:
  using Change = std::function<void(Request&, const PromiseCase&)>;
  using Score = std::function<double(const at::Tensor&, const PromiseCase&, std::size_t)>;

  at::Tensor generate(const PromiseCase& one, std::size_t index, const Image& source, const Change& change) {
    Request request = base_request(one.prompt, 1000 + index, steps_);
    change(request, one);
    return pipeline_.generate(request, source, options_).images[0];
  }

  Interval over_cases(const std::string& label, const Change& change, const Score& score, bool one_color = false) {
    progress_(label);
    std::vector<double> values;
    for (std::size_t i = 0; i < cases_.cases.size(); ++i) {
      const PromiseCase& one = cases_.cases[i];
      values.push_back(score(generate(one, i, one_color ? one.source_in_one_color : one.source, change), one, i));
    }
    return mean_interval(values);
  }

  PromiseRow strength() {
    PromiseRow row{"low strength keeps the source, high strength re-imagines",
                   "strength",
                   "LPIPS to the source",
                   {},
                   {},
                   "rises",
                   false};
    for (const double value : {0.3, 0.5, 0.6, 0.7, 0.8, 1.0}) {
      row.values.push_back(fmt::format("{}", value));
      row.measured.push_back(over_cases(
          "strength " + row.values.back(), [&](Request& request, const PromiseCase&) { request.strength = value; },
          [](const at::Tensor& image, const PromiseCase& one, std::size_t) {
            return lpips_alex(image, to_tensor(one.source));
          }));
    }
    row.holds = rises(row.measured);
    return row;
  }

  PromiseRow image_guidance() {
    PromiseRow row{"higher image guidance preserves the layout better",
                   "image_guidance_scale",
                   "object mask IoU with the source",
                   {},
                   {},
                   "rises",
                   false};
    for (const double value : {1.0, 1.5, 3.0, 6.0}) {
      row.values.push_back(fmt::format("{}", value));
      row.measured.push_back(over_cases(
          "image guidance " + row.values.back(),
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_without_place;  // the prompt must not say where things are
            request.image_guidance_scale = value;
          },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) {
            return mask_iou(reader_.read(to_image(image)).mask, reader_.read(one.source).mask);
          }));
    }
    row.holds = rises(row.measured);
    return row;
  }

  double obeyed(const at::Tensor& image, const PromiseCase& one, bool with_shape) const {
    const auto seen = reader_.read(to_image(image)).shapes;
    const auto hits = std::count_if(one.wanted.begin(), one.wanted.end(), [&](const SceneShape& wanted) {
      return std::any_of(seen.begin(), seen.end(), [&](const SceneShape& shape) {
        return shape.color == wanted.color && shape.row == wanted.row && shape.column == wanted.column &&
               (!with_shape || shape.shape == wanted.shape);
      });
    });
    return static_cast<double>(hits) / static_cast<double>(one.wanted.size());
  }

  PromiseRow guidance() {
    PromiseRow row{"higher guidance follows the prompt more strictly",
                   "guidance_scale",
                   "share of wanted shapes in place with colour and form",
                   {},
                   {},
                   "at least 0.8 at 7.5, and more than at 1.5",
                   false};
    for (const double value : {1.5, 4.0, 7.5}) {
      row.values.push_back(fmt::format("{}", value));
      row.measured.push_back(over_cases(
          "guidance " + row.values.back(),
          [&](Request& request, const PromiseCase&) { request.guidance_scale = value; },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) { return obeyed(image, one, true); }));
    }
    row.holds = row.measured.back().median >= 0.8 && row.measured.back().median > row.measured.front().median;
    return row;
  }

  PromiseRow more_steps() {
    PromiseRow row{
        "more steps, better pictures", "steps", "RMS distance to the 50-step picture", {}, {}, "falls", false};
    std::vector<at::Tensor> best;
    over_cases(
        "50 steps", [](Request& request, const PromiseCase&) { request.steps = 50; },
        [&](const at::Tensor& image, const PromiseCase&, std::size_t) {
          best.push_back(image.clone());
          return 0.0;
        });
    for (const int value : {5, 10, 20, 30}) {
      row.values.push_back(std::to_string(value));
      row.measured.push_back(over_cases(
          row.values.back() + " steps", [&](Request& request, const PromiseCase&) { request.steps = value; },
          [&](const at::Tensor& image, const PromiseCase&, std::size_t i) {
            return (image - best[i]).square().mean().sqrt().item<double>();
          }));
    }
    row.holds = falls(row.measured);
    return row;
  }

  PromiseRow negative_prompt() {
    const std::string& color = cases_.negative_prompt;
    PromiseRow row{"the negative prompt removes what it names",
                   "negative_prompt",
                   fmt::format("share of pictures with a {} shape", color),
                   {},
                   {},
                   "falls",
                   false};
    for (const std::string& value : {std::string(), color}) {
      row.values.push_back(value.empty() ? "(empty)" : value);
      row.measured.push_back(over_cases(
          "negative prompt " + row.values.back(),
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_for_negative;
            request.negative_prompt = value;
            request.guidance_scale = 4;
          },
          [&](const at::Tensor& image, const PromiseCase&, std::size_t) {
            const auto shapes = reader_.read(to_image(image)).shapes;
            return std::any_of(shapes.begin(), shapes.end(),
                               [&](const SceneShape& shape) { return shape.color == color; })
                       ? 1.0
                       : 0.0;
          },
          true));
    }
    row.holds = falls(row.measured);
    return row;
  }

  PromiseRow second_prompt() {
    PromiseRow row{"the second prompt adds what the first leaves out",
                   "prompt_2",
                   "share of wanted colours in place",
                   {},
                   {},
                   "rises",
                   false};
    for (const bool full : {false, true}) {
      row.values.push_back(full ? "with the colours" : "without");
      row.measured.push_back(over_cases(
          "second prompt " + row.values.back(),
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_without_color;
            if (full) request.prompt_2 = one.prompt;
          },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) { return obeyed(image, one, false); }));
    }
    row.holds = rises(row.measured);
    return row;
  }

  Pipeline& pipeline_;
  const PromiseCases& cases_;
  int steps_;
  const std::function<void(const std::string&)>& progress_;
  SceneReader reader_;
  GenerateOptions options_;
};

}  // namespace

bool rises(const std::vector<Interval>& measured) {
  return std::adjacent_find(measured.begin(), measured.end(), [](const Interval& a, const Interval& b) {
           return !(a.median < b.median);
         }) == measured.end();
}

bool falls(const std::vector<Interval>& measured) {
  return std::adjacent_find(measured.begin(), measured.end(), [](const Interval& a, const Interval& b) {
           return !(a.median > b.median);
         }) == measured.end();
}

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

std::vector<PromiseRow> measure_promises(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseCases& cases,
                                         int steps, const std::function<void(const std::string&)>& progress) {
  return Measurement(pipeline, scheduler, cases, steps, progress).all();
}

}  // namespace i2i
