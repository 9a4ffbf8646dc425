// peers.html: how much faster than whom, end to end; then stage by stage, memory, and both pictures of each peer.
#include "reports/peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "peers_style.h"
#include "report_style.h"
#include "reports/text.h"

namespace i2i {
namespace {

constexpr std::string_view kNoPeer = "not the same picture: no peer";

constexpr std::string_view kNoBreak = "\u00a0";  // a number and its unit stay on one line

std::string ms_text(double ms) {
  return fmt::format("{}{}ms", ms >= 1000 ? fmt::format("{:.0f}", ms) : number_text(ms, 3), kNoBreak);
}
std::string time_text(double ms) { return ms >= 1000 ? fmt::format("{:.2f}{}s", ms / 1000, kNoBreak) : ms_text(ms); }
std::string ratio_text(double ratio) { return fmt::format("{:.2f}×", ratio); }

std::string_view words_of(std::string_view verdict) {
  if (verdict == "same") return "as fast";
  return verdict == "ambiguous" ? "not told apart" : verdict;
}

std::string_view stage_words(const PeerStage& stage) {
  if (stage.name == "encode_prompt") return "prompt";
  if (stage.name == "vae_encode") return "VAE encode";
  if (stage.name == "unet") return "UNet";
  return stage.name == "vae_decode" ? "VAE decode" : "whole request";
}

std::string calls_text(const PeerStage& stage) {
  if (stage.i2i_calls == 0 && stage.peer_calls == 0) return "";
  if (stage.i2i_calls == stage.peer_calls) return fmt::format("{} calls", stage.i2i_calls);
  return fmt::format("{} calls, the peer {}", stage.i2i_calls, stage.peer_calls);
}

/// Where the intervals of all cards lie on one axis, in shares of its width; the axis is logarithmic, so that twice as
/// fast and half as fast are equally far from 1.
class Axis {
 public:
  explicit Axis(const PeersReport& report) {
    for (const PeerRow& row : report.rows) {
      if (!row.same_picture) continue;
      low_ = std::min(low_, row.stages.back().ratio.low);
      high_ = std::max(high_, row.stages.back().ratio.high);
    }
    low_ /= kMargin;
    high_ *= kMargin;
  }
  double percent(double ratio) const { return 100 * std::log(ratio / low_) / std::log(high_ / low_); }

 private:
  static constexpr double kMargin = 1.08;
  double low_ = 1, high_ = 1;
};

std::string card(const PeerRow& row, const Axis& axis) {
  const PeerStage& total = row.stages.back();
  std::string html = fmt::format("<section class=\"card\"><h2>{}</h2>", xml_escape("beside " + peer_name(row)));
  if (row.same_picture) {
    const double left = axis.percent(total.ratio.low), one = axis.percent(1);
    html += fmt::format(
        "<p class=\"big\"><strong>{0}</strong> <span class=\"{1}\">{2}</span></p><div class=\"range\" "
        "aria-hidden=\"true\"><i style=\"left:{3:.2f}%;width:{4:.2f}%\"></i><b{5} style=\"left:{6:.2f}%\">as "
        "fast</b></div>",
        ratio_text(total.ratio.median), row.verdict, words_of(row.verdict), left, axis.percent(total.ratio.high) - left,
        one > 50 ? " class=\"left\"" : "", one);
    html += row.rounds == 1 ? "<p>One round, so no interval.</p>"
                            : fmt::format("<p>95 % interval {:.2f} to {:.2f}, {} rounds in turns</p>", total.ratio.low,
                                          total.ratio.high, row.rounds);
  } else {
    html += fmt::format("<p class=\"none\">✕ {}</p>", kNoPeer);
  }
  html += fmt::format("<p class=\"muted\">whole request: i2i {}, {} {}</p>", time_text(total.i2i_ms.median),
                      xml_escape(row.peer), time_text(total.peer_ms.median));
  const std::string distance = row.exact ? distance_text(row.distances.front()) : bar_text(row);
  if (row.same_picture) {
    html += fmt::format("<p class=\"muted\">✓ {}: {}</p>", row.exact ? "same picture" : "within the budget",
                        xml_escape(distance));
  } else {
    html += fmt::format("<p class=\"muted\">{}asked for: {}</p>", row.exact ? distance + "; " : "",
                        xml_escape(bar_text(row)));
  }
  return html + "</section>";
}

std::string bar(const Interval& ms, double longest) {
  if (ms.samples.empty()) return "<div class=\"side\"><span class=\"muted\">not timed</span></div>";
  return fmt::format("<div class=\"side\"><i style=\"width:{:.2f}%\"></i><span class=\"number\">{}</span></div>",
                     100 * ms.median / longest, ms_text(ms.median));
}

std::string stage_bars(const PeerRow& row) {
  const PeerStage& total = row.stages.back();
  const double longest = std::max(total.i2i_ms.median, total.peer_ms.median);
  std::string html = fmt::format(
      "<p class=\"keys\"><span><span class=\"swatch\" style=\"background:var(--optimized)\"></span>i2i</span><span>"
      "<span class=\"swatch\" style=\"background:var(--reference)\"></span>{}</span></p>",
      xml_escape(row.peer));
  for (const PeerStage& stage : row.stages) {
    std::string ratio = "–";
    if (row.same_picture && !stage.ratio.samples.empty()) {
      ratio = fmt::format("{}<br><span class=\"muted\">{:.2f} to {:.2f}</span>", ratio_text(stage.ratio.median),
                          stage.ratio.low, stage.ratio.high);
    }
    html += fmt::format(
        "<div class=\"stage{}\"><div>{}<br><span class=\"muted\">{}</span></div><div class=\"sides\">{}{}</div><div "
        "class=\"ratio\">{}</div></div>",
        stage.name == "total" ? " total" : "", stage_words(stage), calls_text(stage), bar(stage.i2i_ms, longest),
        bar(stage.peer_ms, longest), ratio);
  }
  return html + (row.same_picture
                     ? "<p class=\"muted\">Medians over rounds. Ratios: the peer's time by i2i's, paired by "
                       "round, with 95 % intervals; above 1 i2i is faster.</p>"
                     : "<p class=\"muted\">Medians over rounds. No ratios: the work differs.</p>");
}

bool holds_bar(const PictureDistance& distance) {
  return std::all_of(distance.metrics.begin(), distance.metrics.end(), [](const MetricRow& row) { return row.passed; });
}

std::string memory(const PeerRow& row) {
  const auto largest = static_cast<double>(std::max(row.i2i_peak_bytes, row.peer_peak_bytes));
  const auto one = [&](std::string_view side, const std::string& name, std::int64_t bytes) {
    return fmt::format(
        "<div class=\"memory {}\"><span>{}</span><div class=\"track\"><i style=\"width:{:.2f}%\"></i></div><span "
        "class=\"number\">{}</span></div>",
        side, xml_escape(name), 100 * static_cast<double>(bytes) / largest, bytes_text(bytes));
  };
  return "<h3>Peak memory</h3>" + one("optimized", "i2i", row.i2i_peak_bytes) +
         one("reference", row.peer, row.peer_peak_bytes);
}

std::string pictures(const PeerRow& row) {
  const auto figure = [](const std::string& png, const std::string& name) {
    return fmt::format(
        "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>",
        xml_escape(name), base64(png));
  };
  std::string html =
      fmt::format("<h3>Pictures <span class=\"badge {}\">{}</span></h3>", row.same_picture ? "passed" : "failed",
                  !row.same_picture ? "✕ " + std::string(kNoPeer)
                  : row.exact       ? "✓ the same"
                                    : "✓ within the budget");
  html += "<div class=\"pictures\">" + figure(row.i2i_png, row.options.empty() ? "i2i" : "i2i with " + row.options) +
          figure(row.peer_png, row.peer);
  if (!row.exact) html += figure(row.exact_png, "i2i without options");
  html += "</div>";
  for (const PictureDistance& distance : row.distances) {
    const std::string whose = distance.picture == "i2i" ? "i2i" : xml_escape(row.peer);
    html +=
        fmt::format("<p>{}{}: {}</p>", holds_bar(distance) ? "" : "✕ ",
                    row.exact ? "Between them" : whose + " from the picture without options", distance_text(distance));
  }
  return html + fmt::format("<p class=\"muted\">Asked for: {}</p>", xml_escape(bar_text(row)));
}

std::string pairs_list(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string html = "<dl class=\"environment\">";
  for (const auto& [name, value] : pairs)
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", xml_escape(name), xml_escape(value));
  return html + "</dl>";
}

std::string panel(const PeerRow& row) {
  std::string versions;
  for (const auto& [library, version] : row.versions) versions += fmt::format("{} {}, ", library, version);
  return fmt::format(
      "<section class=\"panel\"><h2>{}</h2><div class=\"halves\"><div>{}{}</div><div>{}</div></div><p "
      "class=\"muted\">{}</p><p class=\"muted\">Again: <code>{}</code></p></section>",
      xml_escape(peer_name(row)), stage_bars(row), memory(row), pictures(row), xml_escape(versions + row.date),
      xml_escape(row.command));
}

}  // namespace

std::string peer_name(const PeerRow& row) {
  return row.options.empty() ? row.peer : fmt::format("{}, i2i with {}", row.peer, row.options);
}

std::string bar_text(const PeerRow& row) {
  const std::string from = row.exact ? "between the pictures" : "from i2i's picture without " + row.options;
  if (row.metric == "psnr") return fmt::format("PSNR at least {} dB {}", number_text(row.bar), from);
  return fmt::format("{} at {} {} {}", row.metric == "ssim" ? "SSIM" : "LPIPS", row.metric == "ssim" ? "least" : "most",
                     number_text(row.bar), from);
}

std::string distance_text(const PictureDistance& distance) {
  std::string text;
  for (const MetricRow& metric : distance.metrics) {
    if (!text.empty()) text += ", ";
    if (metric.name == "psnr")
      text += std::isinf(metric.value) ? "equal to the last bit" : fmt::format("{:.1f} dB", metric.value);
    else
      text += metric.name == "ssim" ? fmt::format("SSIM {:.4f}", metric.value)
                                    : fmt::format("LPIPS {}", number_text(metric.value, 2));
  }
  return text;
}

std::string peers_page(const PeersReport& report) {
  const Axis axis(report);
  std::string cards, panels;
  for (const PeerRow& row : report.rows) {
    cards += card(row, axis);
    panels += panel(row);
  }
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"><meta name=\"color-scheme\" "
      "content=\"light dark\"><title>{0}</title><style>{1}{2}</style></head><body><header class=\"top\"><div><p "
      "class=\"brand\">i2i <span>beside other programs: how much faster, end to "
      "end</span></p><h1>{0}</h1></div></header>"
      "<main><div class=\"cards\">{3}</div>{4}<section id=\"method\"><h2>Request</h2>{5}</section><section "
      "id=\"environment\"><h2>Environment</h2>{6}</section></main></body></html>\n",
      xml_escape(report.title), embedded::report_style, embedded::peers_style, cards, panels,
      pairs_list(report.request), pairs_list(report.environment));
}

}  // namespace i2i
