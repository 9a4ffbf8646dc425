#include "harness/promises.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "harness/metrics/metric.h"

namespace i2i {
namespace {

// Beside a strong pull of the text, the source's own pull is measured best at a moderate one.
constexpr double kGuidanceBesideImageGuidance = 3;

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

// The labelled values of one promise as they are measured.
struct Measured {
  std::vector<std::string> values;
  std::vector<Interval> means;
  bool holds = false;
};

class Measurement {
 public:
  Measurement(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseCases& cases,
              const PromiseSettings& settings, const std::function<void(const std::string&)>& progress)
      : pipeline_(pipeline), cases_(cases), steps_(settings.steps), progress_(progress), reader_(load_world()) {
    options_.scheduler = scheduler;
    options_.savings = settings.savings;
  }

  Measured strength() {
    Measured measured;
    for (const double value : {0.3, 0.5, 0.6, 0.7, 0.8, 1.0}) {
      add(
          measured, fmt::format("{}", value), [&](Request& request, const PromiseCase&) { request.strength = value; },
          [](const at::Tensor& image, const PromiseCase& one, std::size_t) {
            return lpips_alex(image, to_tensor(one.source));
          });
    }
    measured.holds = rises(measured.means);
    return measured;
  }

  Measured image_guidance() {
    Measured measured;
    for (const double value : {1.0, 1.5, 3.0, 6.0}) {
      add(
          measured, fmt::format("{}", value),
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_without_place;  // the prompt must not say where things are
            request.guidance_scale = kGuidanceBesideImageGuidance;
            request.image_guidance_scale = value;
          },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) {
            return mask_iou(reader_.read(to_image(image)).mask, reader_.read(one.source).mask);
          });
    }
    measured.holds = rises(measured.means);
    return measured;
  }

  Measured guidance() {
    Measured measured;
    for (const double value : {1.5, 4.0, 7.5}) {
      add(
          measured, fmt::format("{}", value),
          [&](Request& request, const PromiseCase&) { request.guidance_scale = value; },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) { return obeyed(image, one, true); });
    }
    measured.holds = measured.means.back().median >= 0.8 && measured.means.back().median > measured.means[0].median;
    return measured;
  }

  Measured more_steps() {
    std::vector<at::Tensor> best;
    Measured measured;
    add(
        measured, "50", [](Request& request, const PromiseCase&) { request.steps = 50; },
        [&](const at::Tensor& image, const PromiseCase&, std::size_t) {
          best.push_back(image.clone());
          return 0.0;
        });
    measured = {};  // the 50-step pictures are what the others are measured against, not a value of their own
    for (const int value : {5, 10, 20, 30}) {
      add(
          measured, std::to_string(value), [&](Request& request, const PromiseCase&) { request.steps = value; },
          [&](const at::Tensor& image, const PromiseCase&, std::size_t i) {
            return (image - best[i]).square().mean().sqrt().item<double>();
          });
    }
    measured.holds = falls(measured.means);
    return measured;
  }

  Measured negative_prompt() {
    Measured measured;
    for (const std::string& value : {std::string(), cases_.negative_prompt}) {
      add(
          measured, value.empty() ? "(empty)" : value,
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_for_negative;
            request.negative_prompt = value;
            request.guidance_scale = 4;
          },
          [&](const at::Tensor& image, const PromiseCase&, std::size_t) {
            const auto shapes = reader_.read(to_image(image)).shapes;
            const bool found = std::any_of(shapes.begin(), shapes.end(), [&](const SceneShape& shape) {
              return shape.color == cases_.negative_prompt;
            });
            return found ? 1.0 : 0.0;
          },
          &PromiseCase::source_in_one_color);
    }
    measured.holds = falls(measured.means);
    return measured;
  }

  Measured second_prompt() {
    Measured measured;
    for (const bool full : {false, true}) {
      add(
          measured, full ? "with the colours" : "without",
          [&](Request& request, const PromiseCase& one) {
            request.prompt = one.prompt_without_color;
            if (full) request.prompt_2 = one.prompt;
          },
          [&](const at::Tensor& image, const PromiseCase& one, std::size_t) { return obeyed(image, one, false); });
    }
    measured.holds = rises(measured.means);
    return measured;
  }

  Measured same_seed() {
    const Change batch_of_two = [](Request& request, const PromiseCase&) { request.batch_size = 2; };
    bool equal = true, different = true;
    std::vector<double> two_runs, within_a_batch;
    progress_("a batch of two, twice");
    for (std::size_t i = 0; i < cases_.cases.size(); ++i) {
      const PromiseCase& one = cases_.cases[i];
      const at::Tensor first = generate(one, i, one.source, batch_of_two);
      const at::Tensor again = generate(one, i, one.source, batch_of_two);
      equal = equal && at::equal(first, again);
      two_runs.push_back(lpips_alex(first[0], again[0]));
      within_a_batch.push_back(lpips_alex(first[0], first[1]));
      different = different && within_a_batch.back() > 0;
    }
    return {
        {"two runs", "within a batch"}, {mean_interval(two_runs), mean_interval(within_a_batch)}, equal && different};
  }

 private:
  using Change = std::function<void(Request&, const PromiseCase&)>;
  using Score = std::function<double(const at::Tensor&, const PromiseCase&, std::size_t)>;

  at::Tensor generate(const PromiseCase& one, std::size_t index, const Image& source, const Change& change) {
    Request request = base_request(one.prompt, 1000 + index, steps_);
    change(request, one);
    return pipeline_.generate(request, source, options_).images;
  }

  // One value of the parameter: a picture and its score for every case.
  void add(Measured& measured, const std::string& value, const Change& change, const Score& score,
           Image PromiseCase::*source = &PromiseCase::source) {
    progress_(value);
    std::vector<double> scores;
    for (std::size_t i = 0; i < cases_.cases.size(); ++i) {
      const PromiseCase& one = cases_.cases[i];
      scores.push_back(score(generate(one, i, one.*source, change)[0], one, i));
    }
    measured.values.push_back(value);
    measured.means.push_back(mean_interval(scores));
  }

  // The share of wanted shapes that stand at their place with their colour, and with their form if asked.
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

  Pipeline& pipeline_;
  const PromiseCases& cases_;
  int steps_;
  std::function<void(const std::string&)> progress_;
  SceneReader reader_;
  GenerateOptions options_;
};

struct Promise {
  const char* words;
  const char* parameter;
  const char* quantity;
  const char* expectation;
  Measured (Measurement::*measure)();
};

constexpr std::array<Promise, 7> kPromises = {{
    {"low strength keeps the source, high strength re-imagines", "strength", "LPIPS to the source", "rises",
     &Measurement::strength},
    {"higher image guidance preserves the layout better", "image_guidance_scale",
     "object mask IoU with the source, at guidance_scale 3", "rises", &Measurement::image_guidance},
    {"higher guidance follows the prompt more strictly", "guidance_scale",
     "share of wanted shapes in place with colour and form", "at least 0.8 at 7.5, and more than at 1.5",
     &Measurement::guidance},
    {"more steps, better pictures", "steps", "RMS distance to the 50-step picture", "falls", &Measurement::more_steps},
    {"the negative prompt removes what it names", "negative_prompt", "share of pictures with a shape of that colour",
     "falls", &Measurement::negative_prompt},
    {"the second prompt adds what the first leaves out", "prompt_2", "share of wanted colours in place", "rises",
     &Measurement::second_prompt},
    {"same seed, same pictures; a batch's pictures differ", "seed", "LPIPS between two pictures",
     "no byte differs between two runs, above 0 within every batch", &Measurement::same_seed},
}};

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

std::vector<std::string> promise_names() {
  std::vector<std::string> names;
  for (const Promise& promise : kPromises) names.emplace_back(promise.words);
  return names;
}

void measure_promises(Pipeline& pipeline, const SchedulerSpec& scheduler, const PromiseSettings& settings,
                      std::vector<PromiseRow>& rows, const std::function<void(const std::string&)>& progress,
                      const std::function<void(const std::vector<PromiseRow>&)>& finished) {
  const PromiseCases cases = load_promise_cases(settings.cases);
  for (const Promise& promise : kPromises) {
    if (std::any_of(rows.begin(), rows.end(), [&](const PromiseRow& row) { return row.promise == promise.words; })) {
      continue;
    }
    Measurement measurement(pipeline, scheduler, cases, settings, [&](const std::string& value) {
      progress(fmt::format("{}: {} {}", promise.words, promise.parameter, value));
    });
    const Measured measured = (measurement.*promise.measure)();
    rows.push_back({promise.words, promise.parameter, promise.quantity, measured.values, measured.means,
                    promise.expectation, measured.holds});
    finished(rows);
  }
}

}  // namespace i2i
