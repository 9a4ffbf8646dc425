// i2i beside other programs, as plain rows: times of either side, how often i2i is faster, memory, and both pictures.
// Filled by harness/peers.cpp; written as a page, as Markdown or as JSON. A peer that computes another picture is none:
// writers show its times, but no ratio.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "reports/report.h"

namespace i2i {

/// What a stage takes of one request; a side that did not time it has no samples.
struct PeerStage {
  std::string name;  ///< encode_prompt, vae_encode, unet, vae_decode, total
  Interval i2i_ms, peer_ms;
  Interval ratio;  ///< peer / i2i, paired: above 1 where i2i is faster; no samples where one side has none
  int i2i_calls = 0, peer_calls = 0;  ///< of the UNet; 0 elsewhere
};

/// Distance of a picture from the one that it is held to.
struct PictureDistance {
  std::string picture;  ///< whose: "peer" where the two are held to each other, else "i2i" and "peer"
  std::vector<MetricRow> metrics;
};

struct PeerRow {
  std::string peer;
  std::vector<std::pair<std::string, std::string>> versions;
  std::string options;  ///< of i2i, beyond its defaults
  std::string date, command;
  int rounds = 0;
  std::vector<PeerStage> stages;  ///< in pipeline order, total last
  std::string verdict;            ///< of the total: faster, slower, same, ambiguous; "no peer" where pictures differ
  std::int64_t i2i_peak_bytes = 0, peer_peak_bytes = 0;
  std::string metric;  ///< what decides whether the pictures are the same
  double bar = 0;
  bool exact = true;  ///< the pictures are held to each other; else each to what i2i gives without `options`
  std::vector<PictureDistance> distances;
  bool same_picture = false;
  std::string i2i_png, peer_png, exact_png;  ///< PNG bytes; the last is empty where `exact`
};

struct PeersReport {
  std::string title;
  std::vector<std::pair<std::string, std::string>> request, environment;
  std::vector<PeerRow> rows;
};

/// "openvino", or "openvino, i2i with --features int8".
std::string peer_name(const PeerRow& row);

/// "PSNR at least 40 dB between the pictures", "LPIPS at most 0.02 from i2i's picture without --features int8".
std::string bar_text(const PeerRow& row);

/// "37.2 dB, SSIM 0.9910, LPIPS 0.002".
std::string distance_text(const PictureDistance& distance);

std::string peers_page(const PeersReport& report);      ///< one HTML file, for desk and phone
std::string peers_markdown(const PeersReport& report);  ///< one row a peer
std::string peers_json(const PeersReport& report);

}  // namespace i2i
