// Made-up reports: a small one with every verdict and hostile strings, and a sweep that looks like a real one.
// Numbers come from formulas and a fixed generator, so that every machine writes the same bytes.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "reports/report.h"

namespace i2i::sample {

/// A latency given to cells that failed: it must not be seen in any report.
inline constexpr double kForbiddenMs = 987.654321;
/// Every character that some format gives a meaning to, a control character, and text beyond ASCII.
inline const std::string kHostile = "a \"b\", 'c' </script><!-- <b>&amp; | `x` {{data}}\nsecond line \x01 Grün 图 ]]>";

class Generator {
 public:
  /// In [-1, 1).
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 40) / static_cast<double>(1u << 23) - 1;
  }

 private:
  std::uint64_t state_ = 1;
};

inline std::string png(const cv::Mat& rgb) {
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<std::uint8_t> bytes;
  cv::imencode(".png", bgr, bytes);
  return {bytes.begin(), bytes.end()};
}

/// Shapes on a ground; `strength` moves them and `guidance` deepens the colours.
inline cv::Mat draw(int size, double strength, double guidance) {
  cv::Mat picture(size, size, CV_8UC3, cv::Scalar(226 - 30 * strength, 214, 180 + 40 * strength));
  const auto at = [&](double x) { return static_cast<int>(std::lround(x * size)); };
  const double depth = std::min(1.0, 0.5 + guidance / 15);
  cv::circle(picture, {at(0.32 + 0.1 * strength), at(0.36)}, at(0.19), cv::Scalar(205 * depth, 40, 50), cv::FILLED);
  cv::rectangle(picture, {at(0.5), at(0.5 + 0.12 * strength)}, {at(0.85), at(0.85)}, cv::Scalar(30, 80, 190 * depth),
                cv::FILLED);
  const std::vector<cv::Point> triangle = {{at(0.7), at(0.1)}, {at(0.9), at(0.4)}, {at(0.55), at(0.38)}};
  cv::fillConvexPoly(picture, triangle, cv::Scalar(240 * depth, 190, 20));
  return picture;
}

/// The same picture with a few values off by one, as rounding differences leave it.
inline cv::Mat nudge(cv::Mat picture, int count, Generator& random) {
  for (int i = 0; i < count; ++i) {
    const auto any = [&](int limit) { return std::min(limit - 1, static_cast<int>((random.next() + 1) / 2 * limit)); };
    auto& pixel = picture.at<cv::Vec3b>(any(picture.rows), any(picture.cols));
    auto& value = pixel[any(3)];
    value = static_cast<std::uint8_t>(value == 255 ? 254 : value + 1);
  }
  return picture;
}

inline Interval interval(double median, double spread, Generator& random, int samples = 9) {
  Interval row{median, median * (1 - spread), median * (1 + spread), {}};
  for (int i = 0; i < samples; ++i) row.samples.push_back(median * (1 + 1.6 * spread * random.next()));
  return row;
}

inline ImplementationRow implementation(const std::string& name, double unet_ms, int steps, std::int64_t bytes,
                                        Generator& random) {
  ImplementationRow row{name, {}, 0, {}, {}, bytes, 0};
  double total = 0;
  const auto add = [&](const std::string& stage, int step, double ms) {
    row.stages.push_back({stage, step, interval(ms * (1 + 0.02 * random.next()), 0.03, random)});
    total += row.stages.back().ms.median;
  };
  add("preprocess", -1, 0.4);
  add("encode_prompt", -1, 0.3 * unet_ms);
  add("vae_encode", -1, 0.5 * unet_ms);
  for (int step = 0; step < steps; ++step) {
    add("unet", step, unet_ms);
    add("scheduler_step", step, 0.06);
  }
  add("vae_decode", -1, 0.8 * unet_ms);
  add("postprocess", -1, 0.2);
  const std::string prefix = name == "reference" ? "aten::" : "i2i::";
  for (int step = 0; step < steps; ++step) {
    const auto part = [&](const std::string& op, const std::string& kind, double share) {
      const double ms = unet_ms * share;
      row.operators.push_back({"unet",
                               step,
                               prefix + op,
                               kind,
                               10,
                               {ms, 0.98 * ms, 1.02 * ms, {ms, ms, ms}},
                               kind == "normalization" ? 0 : 0.2 * ms,
                               share * ms});
    };
    part("conv2d", "convolution", 0.5);
    part("linear", "linear", 0.3);
    part("layer_norm", "normalization", 0.1);
  }
  row.total_ms = interval(total * 1.01, 0.02, random);
  row.cold_ms = total * 1.7;
  return row;
}

/// strength x guidance_scale x steps x batch_size, all passed.
inline Report sweep(int size = 64, int seeds = 1) {
  Generator random;
  Report report;
  report.title = "i2i sweep: demo on scenes";
  report.command = "i2i sweep datasets/sweeps/demo.json --out out/demo";
  report.environment = {
      {"date", "2026-01-02 03:04 UTC"},        {"model", "scenes"},    {"device", "cpu"},    {"dtype", "fp32"},
      {"CPU", "made-up processor, 2 threads"}, {"libtorch", "2.11.0"}, {"commit", "0123abc"}};
  report.notes = {
      "Text embeddings were computed once per prompt and shared by all cells; their time is part of every cell's "
      "total."};
  report.axes = {{"strength", {"0.3", "0.6", "0.9"}},
                 {"guidance_scale", {"1.5", "7.5"}},
                 {"steps", {"5", "10", "20"}},
                 {"batch_size", {"1", "4"}}};
  if (seeds > 1) {
    report.axes.push_back({"seed", {}});
    for (int seed = 0; seed < seeds; ++seed) report.axes.back().second.push_back(std::to_string(seed));
  }
  for (const std::string& strength : report.axes[0].second) {
    for (const std::string& guidance : report.axes[1].second) {
      for (const std::string& steps : report.axes[2].second) {
        for (const std::string& batch : report.axes[3].second) {
          for (int seed = 0; seed < seeds; ++seed) {
            const int count = std::max(1, static_cast<int>(std::stod(steps) * std::stod(strength)));
            const double images = std::stod(batch);
            CellRow cell;
            cell.index = static_cast<int>(report.cells.size());
            cell.axes = {{"strength", strength}, {"guidance_scale", guidance}, {"steps", steps}, {"batch_size", batch}};
            if (seeds > 1) cell.axes.emplace_back("seed", std::to_string(seed));
            cell.verdict = "passed";
            const double lpips = 2e-6 * count * (1.2 + random.next());
            cell.metrics = {{"ssim", 1 - lpips * 0.4, 0.999, true, lpips * 0.4 / 0.001, true},
                            {"lpips", lpips, 0.001, false, lpips / 0.001, true},
                            {"psnr", 72 - 0.4 * count, {}, true, 0, true},
                            {"latents_max_abs", 3e-6 * count, 2e-3, false, 3e-6 * count / 2e-3, true}};
            for (int step = 0; step < count; ++step) cell.latents_drift.push_back(4e-7 * std::pow(1.25, step));
            cell.implementations = {
                implementation("reference", 14 * std::pow(images, 0.9) * (guidance == "1.5" ? 0.98 : 1), count,
                               412'000'000 + 31'000'000 * static_cast<std::int64_t>(images), random),
                implementation("optimized", 6.1 * std::pow(images, 0.8), count,
                               301'000'000 + 17'000'000 * static_cast<std::int64_t>(images), random)};
            cell.speedup = interval(cell.implementations[0].total_ms.median / cell.implementations[1].total_ms.median,
                                    0.03, random);
            cell.speedup_verdict = "faster";
            cell.source_png = png(draw(size, 0, 7.5));
            const cv::Mat picture = draw(size, std::stod(strength) + 0.01 * seed, std::stod(guidance));
            cell.reference_png = png(picture);
            cell.optimized_png = png(nudge(picture.clone(), count < 3 ? 0 : 40 * count, random));
            cell.command = fmt::format(
                "i2i check datasets/requests/demo.json --model scenes --strength {} --guidance_scale {} --steps {} "
                "--batch_size {}",
                strength, guidance, steps, batch);
            report.cells.push_back(cell);
          }
        }
      }
    }
  }
  const auto promise = [&](const std::string& words, const std::string& parameter, const std::string& quantity,
                           const std::vector<std::string>& values, const std::vector<double>& measured,
                           const std::string& expectation, bool holds) {
    PromiseRow row{words, parameter, quantity, values, {}, expectation, holds};
    for (const double value : measured) row.measured.push_back(interval(value, 0.06, random, 32));
    report.promises.push_back(row);
  };
  promise("low strength keeps the source, high strength re-imagines", "strength", "LPIPS to the source",
          {"0.3", "0.5", "0.6", "0.7", "0.8", "1.0"}, {0.04, 0.09, 0.15, 0.22, 0.31, 0.46}, "rises", true);
  promise("higher guidance follows the prompt more strictly", "guidance_scale", "accuracy, share", {"1.5", "7.5"},
          {0.62, 0.88}, "at least 0.8 at 7.5, and rises", true);
  promise("more steps, better pictures", "steps", "LPIPS to 50 steps", {"5", "10", "20", "30"},
          {0.11, 0.06, 0.03, 0.015}, "falls", true);
  return report;
}

/// Every verdict, a metric that is not a number, an infinite one, and hostile text wherever text may stand.
inline Report failures() {
  Generator random;
  Report report;
  report.title = "sweep of " + kHostile;
  report.command = "i2i sweep \"" + kHostile + "\"";
  report.environment = {{"device", "cpu"}, {kHostile, kHostile}};
  report.axes = {{"scheduler", {"euler", kHostile}}, {"steps", {"5", "10", "20"}}};
  report.notes = {kHostile};
  const cv::Mat picture = draw(64, 0.6, 7.5);
  const auto add = [&](const std::string& scheduler, const std::string& steps, const std::string& verdict,
                       const std::string& reason) -> CellRow& {
    CellRow cell;
    cell.index = static_cast<int>(report.cells.size());
    cell.axes = {{"scheduler", scheduler}, {"steps", steps}};
    cell.verdict = verdict;
    cell.reason = reason;
    cell.command = "i2i check request.json --scheduler '" + scheduler + "' --steps " + steps;
    report.cells.push_back(cell);
    return report.cells.back();
  };
  const auto measure = [&](CellRow& cell, double ssim, double lpips) {
    cell.metrics = {{"ssim", ssim, 0.999, true, (1 - ssim) / 0.001, ssim >= 0.999},
                    {"lpips", lpips, 0.001, false, lpips / 0.001, lpips <= 0.001},
                    {"psnr", ssim == 1 ? std::numeric_limits<double>::infinity() : 50 * ssim, {}, true, 0, true}};
    cell.latents_drift = {0, 1e-6, 2e-6};
    cell.implementations = {implementation("reference", 14, 3, 450'000'000, random),
                            implementation("optimized", 6, 3, 310'000'000, random)};
    cell.source_png = png(draw(64, 0, 7.5));
    cell.reference_png = png(picture);
    cell.optimized_png = png(nudge(picture.clone(), ssim == 1 ? 0 : 900, random));
  };
  CellRow& passed = add("euler", "5", "passed", "");
  measure(passed, 1, 0);
  passed.speedup = interval(2.2, 0.04, random);
  passed.speedup_verdict = "faster";
  passed.warnings = {kHostile, "image_guidance_scale has no effect: the model takes four channels"};
  CellRow& failed = add("euler", "10", "failed", "ssim 0.71 is below 0.999; first difference at unet, step 2");
  measure(failed, 0.71, 0.34);
  for (ImplementationRow& row : failed.implementations) {
    row.total_ms = Interval{kForbiddenMs, kForbiddenMs, kForbiddenMs, {kForbiddenMs}};
    row.cold_ms = kForbiddenMs;
    for (StageRow& stage : row.stages) stage.ms = row.total_ms;
  }
  failed.speedup = Interval{kForbiddenMs, kForbiddenMs, kForbiddenMs, {kForbiddenMs}};
  failed.speedup_verdict = "faster";
  cv::Mat broken = draw(64, 0.6, 7.5);
  cv::rectangle(broken, {20, 20}, {50, 44}, cv::Scalar(255, 0, 255), cv::FILLED);
  failed.optimized_png = png(broken);
  CellRow& mistrusted = add("euler", "20", "mistrusted", "the reference picture is flat");
  measure(mistrusted, 0.9996, 0.0002);
  mistrusted.speedup = interval(1.01, 0.05, random);
  mistrusted.speedup_verdict = "ambiguous";
  CellRow& uncomputed = add(kHostile, "5", "failed", kHostile);
  uncomputed.metrics = {{"lpips", std::numeric_limits<double>::quiet_NaN(), 0.001, false,
                         std::numeric_limits<double>::infinity(), false}};
  add(kHostile, "10", "skipped", "no GPU on this machine");
  add(kHostile, "20", "unsupported", "the scheduler clips its samples");
  report.promises = {{kHostile,
                      "strength",
                      kHostile,
                      {"0.3", kHostile},
                      {interval(0.1, 0.05, random), interval(0.05, 0.05, random)},
                      "rises",
                      false}};
  return report;
}

}  // namespace i2i::sample
