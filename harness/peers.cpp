#include "harness/peers.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness/metrics/metric.h"
#include "harness/statistics.h"
#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/source_image.h"

namespace i2i {
namespace {

constexpr std::size_t kMaxFileBytes = 64u << 20;
constexpr int kLpipsSide = 32;  // pictures below it have no LPIPS
constexpr std::string_view kStages[] = {"encode_prompt", "vae_encode", "unet", "vae_decode", "total"};

/// A value of the file with its place, so that every error names both.
class Field {
 public:
  Field(const nlohmann::json& value, std::string file, std::string pointer = "")
      : value_(&value), file_(std::move(file)), pointer_(std::move(pointer)) {}

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} {}", file_, pointer_.empty() ? "/" : pointer_, what));
  }
  bool has(const std::string& key) const { return value_->is_object() && value_->contains(key); }
  Field operator[](const std::string& key) const {
    if (!value_->is_object()) refuse("is not an object");
    const Field member(*value_, file_, pointer_ + "/" + key);
    if (!value_->contains(key)) member.refuse("is missing");
    return {value_->at(key), file_, member.pointer_};
  }
  std::vector<Field> elements() const {
    if (!value_->is_array()) refuse("is not an array");
    std::vector<Field> fields;
    for (std::size_t i = 0; i < value_->size(); ++i)
      fields.emplace_back((*value_)[i], file_, fmt::format("{}/{}", pointer_, i));
    return fields;
  }
  std::string text() const {
    if (!value_->is_string()) refuse("is not a text");
    return value_->get<std::string>();
  }
  double number() const {
    if (!value_->is_number()) refuse("is not a number");
    return value_->get<double>();
  }
  double above_zero() const {
    const double given = number();
    if (!(given > 0)) refuse(fmt::format("is {}, not above 0", given));
    return given;
  }
  std::int64_t count() const {
    if (!value_->is_number_integer() || value_->get<std::int64_t>() < 1) refuse("is not a whole number above 0");
    return value_->get<std::int64_t>();
  }
  /// An object's members as they stand; what is no text as JSON.
  std::vector<std::pair<std::string, std::string>> pairs() const {
    if (!value_->is_object()) refuse("is not an object");
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& [name, value] : value_->items())
      rows.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    return rows;
  }
  Image picture() const {
    // Absolute, so that no text of the file can be taken for an address to fetch.
    const std::filesystem::path folder = std::filesystem::absolute(file_).parent_path();
    try {
      return load_source_image((folder / text()).string());
    } catch (const Error& error) {
      refuse(fmt::format("cannot be read: {}", error.what()));
    }
  }

 private:
  const nlohmann::json* value_;
  std::string file_, pointer_;
};

std::string png_bytes(const Image& image) {
  const std::vector<std::uint8_t> bytes = encode_png(image);
  return {bytes.begin(), bytes.end()};
}

at::Tensor pixels_of(const Image& image) {
  return at::tensor(at::ArrayRef<std::uint8_t>(image.rgb.data(), image.rgb.size()), at::kByte)
             .view({image.height, image.width, 3})
             .to(at::kFloat) /
         255;
}

PictureDistance distance_between(const std::string& name, const Image& picture, const Image& from, const PeerRow& row,
                                 const Field& field) {
  if (picture.width != from.width || picture.height != from.height) {
    field.refuse(fmt::format("is {} x {} pixels, what it is held to {} x {}", picture.width, picture.height, from.width,
                             from.height));
  }
  PictureDistance distance{name, {}};
  for (const char* metric_name : {"psnr", "ssim", "lpips"}) {
    const bool decides = metric_name == row.metric;
    if (metric_name == std::string_view("lpips") && std::min(from.width, from.height) < kLpipsSide && !decides)
      continue;
    const Metric& metric = metric_by_name(metric_name);
    MetricRow measured;
    measured.name = metric_name;
    measured.value = metric.measure(pixels_of(picture), pixels_of(from));
    measured.higher_is_better = metric.higher_is_better;
    if (decides) {
      measured.bound = row.bar;
      measured.passed = metric.higher_is_better ? measured.value >= row.bar : measured.value <= row.bar;
    }
    distance.metrics.push_back(std::move(measured));
  }
  return distance;
}

void compare_pictures(const Field& run, PeerRow& row) {
  const Field comparison = run["comparison"], pictures = run["pictures"];
  row.metric = comparison["metric"].text();
  if (row.metric != "psnr" && row.metric != "ssim" && row.metric != "lpips")
    comparison["metric"].refuse(fmt::format("is '{}': known are psnr, ssim, lpips", row.metric));
  row.bar = comparison["bar"].number();
  const Image ours = pictures["i2i"].picture(), theirs = pictures["peer"].picture();
  row.i2i_png = png_bytes(ours);
  row.peer_png = png_bytes(theirs);
  row.exact = !comparison.has("exact_picture");
  if (row.exact) {
    row.distances = {distance_between("peer", theirs, ours, row, pictures["peer"])};
  } else {
    const Image exact = comparison["exact_picture"].picture();
    row.exact_png = png_bytes(exact);
    row.distances = {distance_between("i2i", ours, exact, row, pictures["i2i"]),
                     distance_between("peer", theirs, exact, row, pictures["peer"])};
  }
  row.same_picture = true;
  for (const PictureDistance& distance : row.distances) {
    for (const MetricRow& metric : distance.metrics) row.same_picture = row.same_picture && metric.passed;
  }
}

/// A stage's times of one side, a round each: the sum over a request. Empty where a round lacks it.
std::vector<double> stage_times(const std::vector<Field>& rounds, const std::string& side, std::string_view stage,
                                int& calls) {
  std::vector<double> times;
  const std::string key = fmt::format("{}_ms", stage);
  for (const Field& round : rounds) {
    const Field times_of_side = round[side];
    if (stage == "unet") {
      double sum = 0;
      const std::vector<Field> rows = times_of_side[key].elements();
      for (const Field& call : rows) sum += call.above_zero();
      calls = static_cast<int>(rows.size());
      if (sum > 0) times.push_back(sum);
    } else if (stage == "total" || times_of_side.has(key)) {
      times.push_back(times_of_side[key].above_zero());
    }
  }
  if (times.size() != rounds.size()) times.clear();
  return times;
}

std::string shell_word(const std::string& text) {
  if (!text.empty() &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=") ==
          std::string::npos)
    return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

PeerRow row_of(const Field& run, std::int64_t threads) {
  PeerRow row;
  row.peer = run["peer"].text();
  row.options = run["options"].text();
  row.date = run["date"].text();
  row.versions = run["versions"].pairs();
  const std::vector<Field> rounds = run["rounds"].elements();
  if (rounds.empty()) run["rounds"].refuse("is empty");
  row.rounds = static_cast<int>(rounds.size());
  for (const std::string_view name : kStages) {
    PeerStage stage;
    stage.name = name;
    const std::vector<double> ours = stage_times(rounds, "i2i", name, stage.i2i_calls);
    const std::vector<double> theirs = stage_times(rounds, "peer", name, stage.peer_calls);
    stage.i2i_ms = median_interval(ours);
    stage.peer_ms = median_interval(theirs);
    if (!ours.empty() && !theirs.empty()) stage.ratio = paired_ratio(theirs, ours);
    row.stages.push_back(std::move(stage));
  }
  for (const Field& round : rounds) {
    row.i2i_peak_bytes = std::max(row.i2i_peak_bytes, round["i2i"]["peak_resident_bytes"].count());
    row.peer_peak_bytes = std::max(row.peer_peak_bytes, round["peer"]["peak_resident_bytes"].count());
  }
  compare_pictures(run, row);
  row.verdict = row.same_picture ? judge_ratio(row.stages.back().ratio) : "no peer";
  row.command =
      fmt::format("ci/peers --fresh --peers {} --rounds {} --threads {}", shell_word(row.peer), row.rounds, threads);
  if (!row.options.empty()) row.command += fmt::format(" --options={} --budget {}", shell_word(row.options), row.bar);
  return row;
}

/// Options make another program of i2i, so they are in the title.
std::string title_of(const std::vector<PeerRow>& rows) {
  std::vector<std::string> peers, options;
  for (const PeerRow& row : rows) {
    if (std::find(peers.begin(), peers.end(), row.peer) == peers.end()) peers.push_back(row.peer);
    if (std::find(options.begin(), options.end(), row.options) == options.end()) options.push_back(row.options);
  }
  std::erase(options, "");
  const bool also_plain = std::any_of(rows.begin(), rows.end(), [](const PeerRow& row) { return row.options.empty(); });
  std::string title = "i2i";
  if (!options.empty())
    title +=
        fmt::format("{} with {}{}", also_plain ? ", also" : "", fmt::join(options, ", with "), also_plain ? "," : "");
  return fmt::format("{} beside {}", title, fmt::join(peers, ", "));
}

}  // namespace

PeersReport peers_report(const std::string& path) {
  nlohmann::json document;
  try {
    document = parse_json(read_text_file(path, kMaxFileBytes), path);
  } catch (const Error& error) {
    throw Error(ErrorCode::kUsage, error.what());  // a file that the command line named
  }
  const Field root(document, path);
  PeersReport report;
  const std::int64_t threads = root["threads"].count();
  report.request = root["request"].pairs();
  report.environment = root["machine"].pairs();
  report.environment.emplace_back("threads", std::to_string(threads));
  report.environment.emplace_back("model", root["model"].text());
  report.environment.emplace_back("i2i commit", root["i2i"]["commit"].text());
  const std::vector<Field> runs = root["runs"].elements();
  if (runs.empty()) root["runs"].refuse("is empty: no round of any peer has ended");
  for (const Field& run : runs) report.rows.push_back(row_of(run, threads));
  report.title = title_of(report.rows);
  return report;
}

}  // namespace i2i
