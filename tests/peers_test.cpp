// Promise: what ci/peers recorded becomes the ratios of its samples with intervals around them; a peer whose picture is
// another gets no ratio anywhere; a broken record is refused with its file and key; no text of a record becomes HTML.
#include "harness/peers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "interface/error.h"
#include "interface/source_image.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kNoPeer = "not the same picture: no peer";

/// A gradient of 48 x 48 pixels; each pixel is `off` away from the picture of 0.
Image picture(int off) {
  Image image{48, 48, {}};
  for (int i = 0; i < 48 * 48 * 3; ++i) image.rgb.push_back(static_cast<std::uint8_t>(40 + i / 48 + off));
  return image;
}

Json side(double scale, std::int64_t bytes) {
  return {{"encode_prompt_ms", 10 * scale}, {"vae_encode_ms", 20 * scale}, {"unet_ms", {30 * scale, 40 * scale}},
          {"vae_decode_ms", 25 * scale},    {"total_ms", 130 * scale},     {"peak_resident_bytes", bytes}};
}

/// Three rounds in which the machine is once half as fast: the peer takes 2, 3 and 2.5 times as long as i2i.
Json run(const std::string& peer, const std::string& peer_picture) {
  const Json rounds = {{{"i2i", side(1, 4'000'000'000)}, {"peer", side(2, 7'000'000'000)}},
                       {{"i2i", side(2, 5'000'000'000)}, {"peer", side(6, 8'000'000'000)}},
                       {{"i2i", side(1, 4'000'000'000)}, {"peer", side(2.5, 7'000'000'000)}}};
  return {{"peer", peer},
          {"options", ""},
          {"versions", {{"openvino", "2026.4.1"}}},
          {"date", "2026-11-27 12:00 UTC"},
          {"comparison", {{"metric", "psnr"}, {"bar", 40}}},
          {"pictures", {{"i2i", "i2i.png"}, {"peer", peer_picture}}},
          {"rounds", rounds}};
}

class Peers : public testing::Test {
 protected:
  void SetUp() override {
    write_png(picture(0), (folder_ / "i2i.png").string());
    write_png(picture(1), (folder_ / "near.png").string());
    write_png(picture(60), (folder_ / "far.png").string());
    write_png(Image{8, 8, std::vector<std::uint8_t>(192)}, (folder_ / "small.png").string());
  }

  static Json record(const std::vector<Json>& runs) {
    return {{"i2i", {{"commit", "abc1234"}, {"sha256", "0"}}},
            {"model", "sd15"},
            {"threads", 2},
            {"request", {{"prompt", "a portrait in oil"}, {"steps", 2}}},
            {"machine", {{"processor", "a processor"}}},
            {"runs", runs}};
  }
  std::string write(const std::string& text) const {
    std::ofstream(folder_ / "peers.json") << text;
    return (folder_ / "peers.json").string();
  }
  PeersReport report_of(const Json& document) const { return peers_report(write(document.dump())); }

  /// What the record is refused with, without its folder.
  std::string refusal_of_text(const std::string& text) const {
    const std::string path = write(text);
    try {
      peers_report(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      const std::string what = error.what();
      return what.starts_with(path + ": ") ? what.substr(path.size() + 2) : "does not name the file: " + what;
    }
    return "accepted";
  }
  std::string refusal(const Json& document) const { return refusal_of_text(document.dump()); }

  const ScratchFolder scratch_;
  const std::filesystem::path folder_ = scratch_.path();
};

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST_F(Peers, RatiosAreThoseOfTheRoundsWithIntervalsAroundThem) {
  const PeersReport report = report_of(record({run("openvino", "near.png")}));
  ASSERT_EQ(report.rows.size(), 1u);
  const PeerRow& row = report.rows[0];
  ASSERT_EQ(row.stages.size(), 5u);
  const double ours_ms[] = {10, 20, 70, 25, 130};
  for (std::size_t i = 0; i < row.stages.size(); ++i) {
    const PeerStage& stage = row.stages[i];
    EXPECT_DOUBLE_EQ(stage.i2i_ms.median, ours_ms[i]) << stage.name;
    EXPECT_DOUBLE_EQ(stage.peer_ms.median, 2.5 * ours_ms[i]) << stage.name;
    // Unpaired, the slow round would set 1.25 and 6 against each other.
    EXPECT_DOUBLE_EQ(stage.ratio.median, 2.5) << stage.name;
    EXPECT_DOUBLE_EQ(stage.ratio.low, 2) << stage.name;
    EXPECT_DOUBLE_EQ(stage.ratio.high, 3) << stage.name;
  }
  EXPECT_EQ(row.stages[2].i2i_calls, 2);
  EXPECT_EQ(row.verdict, "faster");
  EXPECT_EQ(row.i2i_peak_bytes, 5'000'000'000);
  EXPECT_EQ(row.peer_peak_bytes, 8'000'000'000);
  EXPECT_TRUE(row.same_picture) << distance_text(row.distances[0]);
  EXPECT_EQ(row.command, "ci/peers --fresh --peers openvino --rounds 3 --threads 2");
}

TEST_F(Peers, AStageThatOneSideDidNotTimeHasNoRatio) {
  Json one = run("openvino", "near.png");
  one["rounds"][1]["peer"].erase("vae_encode_ms");
  const PeersReport report = report_of(record({one}));
  const PeerStage& stage = report.rows[0].stages[1];
  EXPECT_EQ(stage.i2i_ms.samples.size(), 3u);
  EXPECT_TRUE(stage.peer_ms.samples.empty());
  EXPECT_TRUE(stage.ratio.samples.empty());
  EXPECT_TRUE(holds(peers_page(report), "not timed"));
}

TEST_F(Peers, AnotherPictureIsNoPeerAndGetsNoRatioAnywhere) {
  const PeersReport report = report_of(record({run("openvino", "far.png")}));
  EXPECT_FALSE(report.rows[0].same_picture);
  EXPECT_EQ(report.rows[0].verdict, "no peer");
  for (const std::string& text : {peers_page(report), peers_markdown(report)}) {
    EXPECT_TRUE(holds(text, kNoPeer));
    for (const char* ratio : {"2.50×", "2.50 [", "faster</span>", "| faster |"})
      EXPECT_FALSE(holds(text, ratio)) << ratio;
  }
  const Json document = Json::parse(peers_json(report));
  EXPECT_EQ(document["peers"][0]["same_picture"], false);
  for (const Json& stage : document["peers"][0]["stages"]) EXPECT_TRUE(stage["ratio"].is_null());
  const PeersReport same = report_of(record({run("openvino", "near.png")}));
  EXPECT_FALSE(holds(peers_page(same), kNoPeer));
  EXPECT_TRUE(holds(peers_page(same), "<strong>2.50×</strong> <span class=\"faster\">faster</span>"));
}

// With options i2i may leave the picture on purpose: then both sides are held to its picture without them.
TEST_F(Peers, OptionsAreNamedAndBothSidesAreHeldToThePictureWithoutThem) {
  Json one = run("openvino-int8", "far.png");
  one["options"] = "--features int8";
  one["comparison"] = {{"metric", "lpips"}, {"bar", 0.02}, {"exact_picture", "near.png"}};
  const PeersReport missed = report_of(record({one}));
  ASSERT_EQ(missed.rows[0].distances.size(), 2u);
  EXPECT_EQ(missed.rows[0].distances[0].picture, "i2i");
  EXPECT_TRUE(missed.rows[0].distances[0].metrics.back().passed);
  EXPECT_FALSE(missed.rows[0].distances[1].metrics.back().passed);
  EXPECT_FALSE(missed.rows[0].same_picture);
  EXPECT_FALSE(missed.rows[0].exact_png.empty());
  EXPECT_EQ(missed.title, "i2i with --features int8 beside openvino-int8");
  for (const std::string& text : {peers_page(missed), peers_markdown(missed)}) {
    EXPECT_TRUE(holds(text, "openvino-int8, i2i with --features int8"));
    EXPECT_TRUE(holds(text, "LPIPS at most 0.02 from i2i&#39;s picture without --features int8") ||
                holds(text, "LPIPS at most 0.02 from i2i's picture without --features int8"));
  }
  EXPECT_EQ(missed.rows[0].command,
            "ci/peers --fresh --peers openvino-int8 --rounds 3 --threads 2 --options='--features int8' --budget 0.02");
  one["pictures"]["peer"] = "i2i.png";
  EXPECT_TRUE(report_of(record({one})).rows[0].same_picture);
  one["pictures"] = {{"i2i", "far.png"}, {"peer", "i2i.png"}};
  EXPECT_FALSE(report_of(record({one})).rows[0].same_picture) << "i2i's own picture is beyond the budget";
}

TEST_F(Peers, MarkdownHasARowAPeerAndItsCellsStayCells) {
  const std::string text = peers_markdown(report_of(record({run("eager", "near.png"), run("a|b", "near.png")})));
  EXPECT_TRUE(holds(text,
                    "\n| eager | 0.025 s / 0.01 s | 0.05 s / 0.02 s | 0.175 s / 0.07 s | 0.0625 s / 0.025 s | "
                    "0.325 s / 0.13 s | 2.50 [2.00, 3.00] | faster | 8.00 GB / 5.00 GB | "))
      << text;
  EXPECT_TRUE(holds(text, "\n| a\\|b | ")) << text;
}

TEST_F(Peers, TextOfTheRecordIsTextOnThePage) {
  Json one = run("<script>alert(1)</script>", "near.png");
  one["versions"] = {{"<img src=x>", "<b>"}};
  one["options"] = "<i>";
  const std::string page = peers_page(report_of(record({one})));
  for (const char* hostile : {"<script", "<img src=x>", "<b>", "<i>"}) EXPECT_FALSE(holds(page, hostile)) << hostile;
  EXPECT_TRUE(holds(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST_F(Peers, ABrokenRecordIsRefusedByFileAndKey) {
  const Json good = record({run("openvino", "near.png")});
  ASSERT_EQ(refusal(good), "accepted");
  const auto with = [&](const char* pointer, const Json& value) {
    Json broken = good;
    broken[Json::json_pointer(pointer)] = value;
    return refusal(broken);
  };
  const auto without = [&](const char* parent, const char* key) {
    Json broken = good;
    broken[Json::json_pointer(parent)].erase(key);
    return refusal(broken);
  };
  EXPECT_TRUE(holds(refusal_of_text("{\"runs\": ["), "JSON"));
  EXPECT_EQ(refusal_of_text("[]"), "/ is not an object");
  EXPECT_EQ(without("", "threads"), "/threads is missing");
  EXPECT_EQ(with("/threads", 0), "/threads is not a whole number above 0");
  EXPECT_EQ(with("/runs", Json::array()), "/runs is empty: no round of any peer has ended");
  EXPECT_EQ(without("/runs/0", "peer"), "/runs/0/peer is missing");
  EXPECT_EQ(with("/runs/0/peer", 3), "/runs/0/peer is not a text");
  EXPECT_EQ(with("/runs/0/rounds", Json::array()), "/runs/0/rounds is empty");
  EXPECT_EQ(without("/runs/0/rounds/1/peer", "total_ms"), "/runs/0/rounds/1/peer/total_ms is missing");
  EXPECT_EQ(with("/runs/0/rounds/2/i2i/total_ms", -3), "/runs/0/rounds/2/i2i/total_ms is -3, not above 0");
  EXPECT_EQ(with("/runs/0/rounds/0/i2i/unet_ms", 7), "/runs/0/rounds/0/i2i/unet_ms is not an array");
  EXPECT_EQ(with("/runs/0/rounds/0/i2i/unet_ms/1", "7"), "/runs/0/rounds/0/i2i/unet_ms/1 is not a number");
  EXPECT_EQ(with("/runs/0/comparison/metric", "taste"),
            "/runs/0/comparison/metric is 'taste': known are psnr, ssim, lpips");
  EXPECT_EQ(with("/runs/0/pictures/peer", "small.png"),
            "/runs/0/pictures/peer is 8 x 8 pixels, what it is held to 48 x 48");
  EXPECT_TRUE(with("/runs/0/pictures/i2i", "none.png").starts_with("/runs/0/pictures/i2i cannot be read: "));
  EXPECT_TRUE(holds(with("/runs/0/pictures/i2i", "http://127.0.0.1:9/x.png"), (folder_ / "http:").string()))
      << "a record must not make the program fetch";
}

}  // namespace
}  // namespace i2i
