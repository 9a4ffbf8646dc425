// bounds.html, bounds.md, bounds.json: lower bounds per kernel and shape, on several GPUs.
#include "reports/bounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "report_style.h"
#include "reports/text.h"

namespace i2i {
namespace {

constexpr std::string_view kPageStyle =
    ".wide { overflow-x: auto; } .wide table { width: 100%; } .wide th, .wide td { padding: 0.22rem 0.55rem; "
    "border-bottom: 1px solid var(--line); white-space: nowrap; } .wide td:nth-child(2) { white-space: normal; "
    "min-width: "
    "11rem; } .wide td + td + td, .wide th + th + th { text-align: right; } .cards { display: grid; gap: 1rem; "
    "grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); margin-bottom: 1rem; } .stack { display: flex; "
    "height: "
    "1.5rem; border-radius: 5px; overflow: hidden; background: var(--soft); } .stack i { min-width: 1px; } .legend { "
    "display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.86rem; margin: 0.5rem 0 0; padding: 0; list-style: "
    "none; } .gpu { display: grid; grid-template-columns: 5.5rem 1fr 5rem; gap: 0.6rem; align-items: center; margin: "
    "0.35rem 0; } .panel { margin-bottom: 1.2rem; }";

/// Told apart by lightness too, and named in the legend in the order of the bars.
constexpr std::string_view kColours[] = {"#cc4a12", "#4f6d94", "#e3a33b", "#2f8f83", "#8a5a9e",
                                         "#a8b6c6", "#6d7a3a", "#c98ba0", "#59616b"};

std::string text_of_ms(double ms) { return number_text(ms, 3); }

/// Kernels of a part with their share of its time on one GPU, the longest first.
std::vector<std::pair<std::string, double>> shares(const BoundsReport& report, const std::string& part,
                                                   const GpuRow& gpu) {
  std::map<std::string, double> of_kernel;
  for (const BoundRow& row : report.rows) {
    if (row.part == part) of_kernel[row.kernel] += row.calls * bound_us(row, gpu) / 1000;
  }
  std::vector<std::pair<std::string, double>> sorted(of_kernel.begin(), of_kernel.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return sorted;
}

std::vector<const BoundRow*> longest_first(const BoundsReport& report, const std::string& part, const GpuRow& gpu) {
  std::vector<const BoundRow*> rows;
  for (const BoundRow& row : report.rows) {
    if (row.part == part) rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [&](const BoundRow* a, const BoundRow* b) {
    return a->calls * bound_us(*a, gpu) > b->calls * bound_us(*b, gpu);
  });
  return rows;
}

std::string intensity_text(const BoundRow& row) {
  return row.flops > 0 ? fmt::format("{:.0f}", row.flops / row.bytes) : "–";
}

const PartSum* sum_of(const std::vector<PartSum>& sums, std::string_view part) {
  const auto found = std::find_if(sums.begin(), sums.end(), [&](const PartSum& sum) { return sum.part == part; });
  return found == sums.end() ? nullptr : &*found;
}

double step_bound(const BoundsReport& report, const std::vector<PartSum>& sums, const std::string& gpu) {
  for (std::size_t i = 0; i < report.gpus.size(); ++i) {
    if (report.gpus[i].name == gpu) return sums.front().ms[i];
  }
  return 0;
}

std::string cards(const BoundsReport& report, const std::vector<PartSum>& sums) {
  std::string html = "<div class=\"cards\">";
  for (std::size_t i = 0; i < report.gpus.size(); ++i) {
    html += fmt::format(
        "<section class=\"card\"><h2>{} on {}</h2><p class=\"big\"><strong>{}</strong> <span>ms at "
        "least</span></p><p class=\"muted\">{} ms by products alone",
        xml_escape(sums.front().part), xml_escape(report.gpus[i].name), text_of_ms(sums.front().ms[i]),
        text_of_ms(sums.front().ms_by_flops[i]));
    for (const std::string_view part : {"VAE decode", "VAE encode"}) {
      if (const PartSum* sum = sum_of(sums, part)) html += fmt::format("; {} {} ms", part, text_of_ms(sum->ms[i]));
    }
    html += "</p></section>";
  }
  return html + "</div>";
}

std::string stacks(const BoundsReport& report, const std::vector<PartSum>& sums, const std::string& part) {
  std::map<std::string, std::string_view> colour;
  std::string html, legend;
  for (const auto& [kernel, ms] : shares(report, part, report.gpus.front())) {
    const std::string_view own = kColours[std::min(colour.size(), std::size(kColours) - 1)];
    colour[kernel] = own;
    legend += fmt::format("<li><span class=\"swatch\" style=\"background:{}\"></span>{}</li>", own, xml_escape(kernel));
  }
  const PartSum* sum = sum_of(sums, part);
  for (std::size_t i = 0; i < report.gpus.size(); ++i) {
    html += fmt::format("<div class=\"gpu\"><span>{}</span><div class=\"stack\">", xml_escape(report.gpus[i].name));
    for (const auto& [kernel, ms] : shares(report, part, report.gpus[i]))
      html += fmt::format("<i style=\"width:{:.2f}%;background:{}\" title=\"{}: {} ms\"></i>", 100 * ms / sum->ms[i],
                          colour[kernel], xml_escape(kernel), text_of_ms(ms));
    html += fmt::format("</div><span class=\"number\">{} ms</span></div>", text_of_ms(sum->ms[i]));
  }
  return html + "<ul class=\"legend\">" + legend + "</ul>";
}

std::string published_table(const BoundsReport& report, const std::vector<PartSum>& sums) {
  if (report.published.empty()) return "";
  std::string html =
      "<section class=\"panel\"><h2>Beside what is published</h2><div class=\"wide\"><table><thead><tr><th>GPU</th>"
      "<th>measured by others</th><th>ms a step</th><th>bound</th><th>times the bound</th></tr></thead><tbody>";
  for (const PublishedRow& row : report.published) {
    const double bound = step_bound(report, sums, row.gpu);
    html += fmt::format(
        "<tr><td>{}</td><td>{}<br><span class=\"muted\">{}</span></td><td>{}</td><td>{}</td><td>{}</td>"
        "</tr>",
        xml_escape(row.gpu), xml_escape(row.what), xml_escape(row.source), text_of_ms(row.ms), text_of_ms(bound),
        number_text(row.ms / bound, 2));
  }
  return html + "</tbody></table></div></section>";
}

std::string rows_table(const BoundsReport& report, const std::string& part) {
  std::string html =
      "<div class=\"wide\"><table><thead><tr><th>kernel</th><th>shape</th><th>calls</th><th>MB a call</th><th>GFLOP a "
      "call</th><th>FLOP/byte</th>";
  for (const GpuRow& gpu : report.gpus) html += fmt::format("<th>{}, µs</th>", xml_escape(gpu.name));
  html += "</tr></thead><tbody>";
  for (const BoundRow* row : longest_first(report, part, report.gpus.front())) {
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
                        xml_escape(row->kernel), xml_escape(row->shape), row->calls, number_text(row->bytes / 1e6, 3),
                        number_text(row->flops / 1e9, 3), intensity_text(*row));
    for (const GpuRow& gpu : report.gpus) html += fmt::format("<td>{}</td>", number_text(bound_us(*row, gpu), 3));
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

}  // namespace

double bound_us(const BoundRow& row, const GpuRow& gpu) {
  return 1e6 * std::max(row.flops / gpu.flops_per_second, row.bytes / gpu.bytes_per_second);
}

std::vector<PartSum> sum_parts(const BoundsReport& report) {
  std::vector<PartSum> sums;
  for (const BoundRow& row : report.rows) {
    if (sums.empty() || sums.back().part != row.part) {
      sums.push_back(
          {row.part, 0, 0, std::vector<double>(report.gpus.size()), std::vector<double>(report.gpus.size())});
    }
    PartSum& sum = sums.back();
    sum.bytes += row.calls * row.bytes;
    sum.flops += row.calls * row.flops;
    for (std::size_t i = 0; i < report.gpus.size(); ++i) {
      sum.ms[i] += row.calls * bound_us(row, report.gpus[i]) / 1000;
      sum.ms_by_flops[i] += 1000 * row.calls * row.flops / report.gpus[i].flops_per_second;
    }
  }
  return sums;
}

std::string bounds_page(const BoundsReport& report) {
  const std::vector<PartSum> sums = sum_parts(report);
  std::string body = cards(report, sums) + published_table(report, sums);
  for (const PartSum& sum : sums) {
    body += fmt::format("<section class=\"panel\"><h2>{}: {} TFLOP, {} moved</h2>", xml_escape(sum.part),
                        number_text(sum.flops / 1e12, 4), bytes_text(static_cast<std::int64_t>(sum.bytes)));
    body += stacks(report, sums, sum.part) + "<details><summary>every kernel and shape</summary>" +
            rows_table(report, sum.part) + "</details></section>";
  }
  std::string assumptions, sources;
  for (const std::string& sentence : report.assumptions) assumptions += "<li>" + xml_escape(sentence) + "</li>";
  for (const GpuRow& gpu : report.gpus) {
    sources += fmt::format("<li>{}: {} TFLOP/s, {} GB/s ({})</li>", xml_escape(gpu.name),
                           number_text(gpu.flops_per_second / 1e12, 3), number_text(gpu.bytes_per_second / 1e9, 4),
                           xml_escape(gpu.source));
  }
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"color-scheme\" content=\"light dark\">"
      "<title>Lower bounds: {0}</title><style>{1}{2}</style></head><body><header class=\"top\"><div><p "
      "class=\"brand\">i2i <span>lower bounds on a GPU, by arithmetic</span></p><h1>{0}</h1></div></header><main>{3}"
      "<section id=\"method\"><h2>What is assumed</h2><ul>{4}</ul><h2>Peaks</h2><ul>{5}</ul><p class=\"muted\">Again: "
      "<code>{6}</code></p></section></main></body></html>\n",
      xml_escape(report.title), embedded::report_style, kPageStyle, body, assumptions, sources,
      xml_escape(report.command));
}

std::string bounds_markdown(const BoundsReport& report) {
  const std::vector<PartSum> sums = sum_parts(report);
  std::string text = fmt::format("# Lower bounds: {}\n\n| part | TFLOP | GB moved |", report.title);
  std::string rule = "\n|---|---|---|";
  for (const GpuRow& gpu : report.gpus) {
    text += fmt::format(" {} ms |", gpu.name);
    rule += "---|";
  }
  text += rule + "\n";
  for (const PartSum& sum : sums) {
    text +=
        fmt::format("| {} | {} | {} |", sum.part, number_text(sum.flops / 1e12, 4), number_text(sum.bytes / 1e9, 3));
    for (const double ms : sum.ms) text += fmt::format(" {} |", text_of_ms(ms));
    text += "\n";
  }
  if (!report.published.empty())
    text += "\n| GPU | published | ms a step | times the bound | source |\n|---|---|---|---|---|\n";
  for (const PublishedRow& row : report.published) {
    text += fmt::format("| {} | {} | {} | {} | {} |\n", row.gpu, row.what, text_of_ms(row.ms),
                        number_text(row.ms / step_bound(report, sums, row.gpu), 2), row.source);
  }
  for (const PartSum& sum : sums) {
    text += fmt::format("\n## {}\n\n| kernel | shape | calls | MB | GFLOP | FLOP/byte |", sum.part);
    for (const GpuRow& gpu : report.gpus) text += fmt::format(" {} µs |", gpu.name);
    text += "\n|---|---|---|---|---|---|";
    for (std::size_t i = 0; i < report.gpus.size(); ++i) text += "---|";
    text += "\n";
    for (const BoundRow* row : longest_first(report, sum.part, report.gpus.front())) {
      text += fmt::format("| {} | {} | {} | {} | {} | {} |", row->kernel, row->shape, row->calls,
                          number_text(row->bytes / 1e6, 3), number_text(row->flops / 1e9, 3), intensity_text(*row));
      for (const GpuRow& gpu : report.gpus) text += fmt::format(" {} |", number_text(bound_us(*row, gpu), 3));
      text += "\n";
    }
  }
  text += "\n";
  for (const std::string& sentence : report.assumptions) text += "- " + sentence + "\n";
  return text + fmt::format("\nAgain: `{}`\n", report.command);
}

std::string bounds_json(const BoundsReport& report) {
  nlohmann::ordered_json document = {{"title", report.title}, {"command", report.command}};
  for (const GpuRow& gpu : report.gpus) {
    document["gpus"].push_back({{"name", gpu.name},
                                {"flops_per_second", gpu.flops_per_second},
                                {"bytes_per_second", gpu.bytes_per_second},
                                {"source", gpu.source}});
  }
  for (const PartSum& sum : sum_parts(report)) {
    document["parts"].push_back({{"part", sum.part},
                                 {"flops", sum.flops},
                                 {"bytes", sum.bytes},
                                 {"ms", sum.ms},
                                 {"ms_by_flops", sum.ms_by_flops}});
  }
  for (const BoundRow& row : report.rows) {
    document["rows"].push_back({{"part", row.part},
                                {"kernel", row.kernel},
                                {"shape", row.shape},
                                {"calls", row.calls},
                                {"bytes", row.bytes},
                                {"flops", row.flops}});
    for (const GpuRow& gpu : report.gpus) document["rows"].back()["us"].push_back(bound_us(row, gpu));
  }
  document["published"] = nlohmann::ordered_json::array();
  for (const PublishedRow& row : report.published) {
    document["published"].push_back({{"gpu", row.gpu}, {"what", row.what}, {"ms", row.ms}, {"source", row.source}});
  }
  document["assumptions"] = report.assumptions;
  return document.dump(1) + "\n";
}

}  // namespace i2i
