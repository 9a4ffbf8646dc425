// report.html: template, style, scripts, plotting library, rows and pictures in one file that opens from disk.
// The page asks the network for nothing; its content security policy holds it to that.
#include <unordered_map>

#include "report_common_js.h"
#include "report_detail_js.h"
#include "report_grid_js.h"
#include "report_operators_js.h"
#include "report_page_js.h"
#include "report_plots_js.h"
#include "report_style.h"
#include "report_summary_js.h"
#include "report_table_js.h"
#include "report_template.h"
#include "reports/plotly.h"
#include "reports/report.h"
#include "reports/row_json.h"
#include "reports/text.h"

namespace i2i {
namespace {

/// Pictures of a report, each stored once however many cells show it.
class PictureStore {
 public:
  /// @return the picture's number, or null where there is none
  nlohmann::ordered_json add(const std::string& png) {
    if (png.empty()) return nullptr;
    const auto [entry, is_new] = numbers_.try_emplace(png, numbers_.size());
    // A script element of its own: the browser keeps it as text until a cell is looked at.
    if (is_new) {
      html_ += "<script type=\"text/plain\" id=\"picture-" + std::to_string(entry->second) +
               "\">data:image/png;base64," + base64(png) + "</script>\n";
    }
    return entry->second;
  }
  const std::string& html() const { return html_; }

 private:
  std::unordered_map<std::string_view, std::size_t> numbers_;  ///< keys live in the report
  std::string html_;
};

/// JSON that may stand in a script element: no "</script" or "<!--" can occur without "<".
std::string script_json(const nlohmann::ordered_json& document) {
  std::string escaped;
  for (const char c : dump(document)) {
    if (c == '<') {
      escaped += "\\u003c";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

/// Replaces each {{name}} of the template once, never looking into what was put in.
std::string fill(std::string_view text, const std::unordered_map<std::string_view, std::string_view>& values) {
  std::string filled;
  for (;;) {
    const std::size_t open = text.find("{{");
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find("}}", open);
    filled += text.substr(0, open);
    filled += values.at(text.substr(open + 2, close - open - 2));
    text.remove_prefix(close + 2);
  }
  return filled.append(text);
}

}  // namespace

std::string write_html_report(const Report& report) {
  nlohmann::ordered_json document = report_to_json(report, Samples::kCounts);
  PictureStore pictures;
  for (std::size_t i = 0; i < report.cells.size(); ++i) {
    const CellRow& cell = report.cells[i];
    document["cells"][i]["pictures"] = {{"source", pictures.add(cell.source_png)},
                                        {"reference", pictures.add(cell.reference_png)},
                                        {"optimized", pictures.add(cell.optimized_png)}};
  }
  std::string scripts;
  for (const std::string_view script :
       {embedded::report_common_js, embedded::report_summary_js, embedded::report_plots_js,
        embedded::report_operators_js, embedded::report_grid_js, embedded::report_detail_js, embedded::report_table_js,
        embedded::report_page_js}) {
    scripts += script;
  }
  const std::string title = xml_escape(report.title);
  const std::string data = script_json(document);
  return fill(embedded::report_template, {{"title", title},
                                          {"style", embedded::report_style},
                                          {"data", data},
                                          {"scripts", scripts},
                                          {"plotly", plotly_js()},
                                          {"pictures", pictures.html()}});
}

}  // namespace i2i
