// Every report format, parsed back: what went in comes out, whatever the strings hold, and a failed cell shows no
// latency. Also leaves report_sample_*.html beside the program, for eyes and browsers.
#include "reports/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "reports/summary.h"
#include "reports/text.h"
#include "tests/report_sample.h"

namespace i2i {
namespace {

std::string write(const Report& report, std::string_view format) {
  for (const ReportWriter& writer : report_writers()) {
    if (writer.format == format) return writer.write(report);
  }
  ADD_FAILURE() << "no writer for " << format;
  return "";
}

std::size_t occurrences(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

std::string between(std::string_view text, std::string_view open, std::string_view close) {
  const std::size_t start = text.find(open);
  if (start == std::string_view::npos) return "";
  return std::string(text.substr(start + open.size(), text.find(close, start + open.size()) - start - open.size()));
}

/// What XML 1.0 and JSON leave of the hostile string: its control character becomes U+FFFD in XML only.
const std::string kHostileInXml = [] {
  std::string text = sample::kHostile;
  return text.replace(text.find('\x01'), 1, "\xEF\xBF\xBD");
}();

TEST(Reports, EveryFormatIsListedOnce) {
  std::set<std::string_view> formats;
  std::set<std::string_view> names;
  for (const ReportWriter& writer : report_writers()) {
    EXPECT_TRUE(formats.insert(writer.format).second) << writer.format;
    EXPECT_TRUE(names.insert(writer.file_name).second) << writer.file_name;
  }
  EXPECT_EQ(formats, (std::set<std::string_view>{"html", "json", "csv", "md", "junit", "gbench", "trace"}));
}

TEST(Reports, AFailedCellShowsNoLatencyInAnyFormat) {
  const Report report = sample::failures();
  ASSERT_EQ(report.cells[1].implementations[0].total_ms.median, sample::kForbiddenMs);
  for (const ReportWriter& writer : report_writers()) {
    const std::string text = writer.write(report);
    for (const char* forbidden : {"987.654", "987.7", "987654", "0.987654"}) {
      EXPECT_EQ(text.find(forbidden), std::string::npos) << writer.format << " shows " << forbidden;
    }
  }
}

TEST(Reports, AnEmptyReportIsWrittenByEveryFormat) {
  for (const ReportWriter& writer : report_writers()) EXPECT_FALSE(writer.write(Report{}).empty()) << writer.format;
}

TEST(Summary, CountsExtremesAndGeometricMean) {
  Report report;
  for (const double speedup : {2.0, 8.0}) {
    CellRow cell;
    cell.index = static_cast<int>(report.cells.size());
    cell.verdict = "passed";
    cell.metrics = {{"lpips", speedup / 1e6, 0.001, false, speedup / 1e3, true}};
    cell.speedup = Interval{speedup, speedup / 2, speedup * 2, {}};
    report.cells.push_back(cell);
  }
  const Summary summary = summarize(report);
  EXPECT_NEAR(summary.speedup->median, 4, 1e-12);
  EXPECT_NEAR(summary.speedup->low, 2, 1e-12);
  EXPECT_NEAR(summary.speedup->high, 8, 1e-12);
  EXPECT_EQ(summary.slowest->cell, 0);
  EXPECT_EQ(summary.fastest->cell, 1);
  EXPECT_EQ(summary.worst_metrics.at(0).cell, 1);
  EXPECT_DOUBLE_EQ(summary.largest_budget->value, 0.008);
}

TEST(Summary, FailuresComeFirstAndAMissingNumberIsTheWorst) {
  const Summary summary = summarize(sample::failures());
  EXPECT_EQ(summary.timed, 2) << "the failed cell's planted speedup counts";
  EXPECT_EQ(summary.verdicts.front(), (std::pair<std::string, int>{"failed", 2}));
  EXPECT_EQ(summary.reasons.front().verdict, "failed");
  const auto lpips = std::ranges::find(summary.worst_metrics, "lpips", [](const auto& row) { return row.metric.name; });
  ASSERT_NE(lpips, summary.worst_metrics.end());
  EXPECT_TRUE(std::isnan(lpips->metric.value));
  EXPECT_NE(summary_text(summary).find("2 failed, 1 mistrusted, 1 unsupported, 1 skipped, 1 passed"),
            std::string::npos);
}

TEST(JsonReport, HoldsEveryRowAndSample) {
  const Report report = sample::failures();
  nlohmann::json document = nlohmann::json::parse(write(report, "json"));
  EXPECT_EQ(document["format"], "i2i-results");
  EXPECT_EQ(document["version"], 1);
  EXPECT_EQ(document["title"], report.title);
  EXPECT_EQ(document["environment"][sample::kHostile], sample::kHostile);
  ASSERT_EQ(document["cells"].size(), report.cells.size());
  nlohmann::json& passed = document["cells"][0];
  const ImplementationRow& reference = report.cells[0].implementations[0];
  EXPECT_EQ(passed["implementations"][0]["total_ms"]["samples"], reference.total_ms.samples);
  EXPECT_EQ(passed["implementations"][0]["stages"].size(), reference.stages.size());
  EXPECT_EQ(passed["implementations"][0]["stages"][3]["ms"]["samples"], reference.stages[3].ms.samples);
  EXPECT_EQ(passed["metrics"][2]["value"], "inf");
  EXPECT_EQ(passed["warnings"], report.cells[0].warnings);
  EXPECT_TRUE(document["cells"][1]["implementations"][0]["total_ms"].is_null());
  EXPECT_TRUE(document["cells"][1]["speedup"].is_null());
  EXPECT_EQ(document["cells"][3]["metrics"][0]["value"], "nan");
  EXPECT_EQ(document["summary"]["verdicts"]["failed"], 2);
}

TEST(JsonReport, BytesThatAreNotUtf8AreReplaced) {
  Report report;
  report.title =
      "a\xFF"
      "b";
  EXPECT_EQ(nlohmann::json::parse(write(report, "json"))["title"],
            "a\xEF\xBF\xBD"
            "b");
}

/// RFC 4180, strictly: quotes only around whole fields, every row as long as the first.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::size_t at = 0;
  while (at < text.size()) {
    rows.emplace_back();
    for (bool more = true; more;) {
      std::string field;
      if (text[at] == '"') {
        for (++at; at < text.size() && (text[at] != '"' || text.compare(at, 2, "\"\"") == 0); ++at) {
          field += text[at];
          at += text[at] == '"';
        }
        ++at;
      } else {
        while (std::string_view(",\n").find(text.at(at)) == std::string_view::npos) field += text[at++];
      }
      rows.back().push_back(field);
      more = text.at(at++) == ',';
    }
  }
  return rows;
}

TEST(CsvReport, ParsesBack) {
  const Report report = sample::failures();
  const auto rows = parse_csv(write(report, "csv"));
  ASSERT_EQ(rows.size(), report.cells.size() + 1);
  for (const auto& row : rows) EXPECT_EQ(row.size(), rows[0].size());
  const auto field = [&](std::size_t cell, const std::string& name) {
    const auto column = std::ranges::find(rows[0], name);
    return column == rows[0].end() ? "no column " + name
                                   : rows[cell + 1].at(static_cast<std::size_t>(column - rows[0].begin()));
  };
  EXPECT_EQ(field(3, "scheduler"), sample::kHostile);
  EXPECT_EQ(field(3, "reason"), sample::kHostile);
  EXPECT_EQ(field(3, "lpips"), "nan");
  EXPECT_EQ(field(3, "ssim"), "");
  EXPECT_EQ(field(1, "reference_ms"), "");
  EXPECT_EQ(field(1, "speedup"), "");
  EXPECT_EQ(field(0, "speedup"), "2.2");
  EXPECT_EQ(field(0, "reference_samples"), "9");
}

TEST(MarkdownReport, HostileStringsLeaveTablesWhole) {
  std::istringstream lines(write(sample::failures(), "md"));
  std::string line;
  std::size_t columns = 0;
  std::size_t rows = 0;
  while (std::getline(lines, line) && line != "Made by:") {
    if (line.empty() || line[0] != '|') {
      columns = 0;
      continue;
    }
    std::size_t pipes = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '\\')
        ++i;
      else
        pipes += line[i] == '|';
    }
    if (columns == 0) columns = pipes;
    EXPECT_EQ(pipes, columns) << line;
    EXPECT_EQ(line.find("</script"), std::string::npos) << line;
    ++rows;
  }
  EXPECT_GE(rows, 6u + 2 + 6);
}

/// Elements with attributes and text, entities decoded. Refuses whatever is not well-formed in the subset that reports
/// use.
struct XmlNode {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;
  std::vector<XmlNode> children;
};

class XmlParser {
 public:
  explicit XmlParser(std::string_view text) : text_(text) {}

  XmlNode document() {
    expect("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    XmlNode root = element();
    expect("\n");
    if (!text_.empty()) throw std::runtime_error("text after the root");
    return root;
  }

 private:
  void expect(std::string_view token) {
    if (!text_.starts_with(token))
      throw std::runtime_error("expected " + std::string(token) + " before " + std::string(text_.substr(0, 40)));
    text_.remove_prefix(token.size());
  }
  bool accept(std::string_view token) {
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  std::string name() {
    std::size_t length = 0;
    while (length < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[length])) || text_[length] == '-'))
      ++length;
    if (length == 0) throw std::runtime_error("a name is missing");
    const std::string found(text_.substr(0, length));
    text_.remove_prefix(length);
    return found;
  }
  std::string text_until(char end) {
    std::string decoded;
    while (!text_.empty() && text_[0] != end) {
      if (text_[0] == '<') throw std::runtime_error("< inside text");
      if (static_cast<unsigned char>(text_[0]) < 0x20 && text_[0] != '\n')
        throw std::runtime_error("a control character");
      bool entity = false;
      for (const auto& [name, character] : std::map<std::string, char>{{"&amp;", '&'},
                                                                       {"&lt;", '<'},
                                                                       {"&gt;", '>'},
                                                                       {"&quot;", '"'},
                                                                       {"&#39;", '\''},
                                                                       {"&#10;", '\n'},
                                                                       {"&#13;", '\r'}}) {
        if (!entity && accept(name)) {
          decoded += character;
          entity = true;
        }
      }
      if (entity) continue;
      if (text_[0] == '&') throw std::runtime_error("a bare &");
      decoded += text_[0];
      text_.remove_prefix(1);
    }
    return decoded;
  }
  XmlNode element() {
    expect("<");
    XmlNode node;
    node.name = name();
    while (accept(" ")) {
      const std::string attribute = name();
      expect("=\"");
      if (!node.attributes.emplace(attribute, text_until('"')).second) throw std::runtime_error("an attribute twice");
      expect("\"");
    }
    if (accept("/>")) return node;
    expect(">");
    for (;;) {
      node.text += text_until('<');
      if (text_.starts_with("</")) break;
      node.children.push_back(element());
    }
    expect("</" + node.name + ">");
    return node;
  }

  std::string_view text_;
};

TEST(JunitReport, IsWellFormedAndCountsAgree) {
  const Report report = sample::failures();
  const std::string xml = write(report, "junit");
  const XmlNode root = XmlParser(xml).document();
  EXPECT_EQ(root.attributes.at("name"), "sweep of " + kHostileInXml);
  ASSERT_EQ(root.children.size(), 2u);
  const XmlNode& cells = root.children[0];
  EXPECT_EQ(cells.children.size(), report.cells.size());
  EXPECT_EQ(cells.attributes.at("tests"), "6");
  EXPECT_EQ(cells.attributes.at("failures"), "2");
  EXPECT_EQ(cells.attributes.at("skipped"), "3");
  EXPECT_EQ(cells.children[1].children.at(0).name, "failure");
  EXPECT_EQ(cells.children[1].children.at(0).attributes.at("message"), report.cells[1].reason);
  EXPECT_EQ(cells.children[3].children.at(0).attributes.at("message"), kHostileInXml);
  EXPECT_EQ(cells.children[2].children.at(0).attributes.at("message"), "mistrusted: the reference picture is flat");
  EXPECT_EQ(root.children[1].children.at(0).children.at(0).name, "failure") << "a broken promise";
  EXPECT_THROW(XmlParser("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a><b></a>\n").document(), std::runtime_error);
}

TEST(GoogleBenchmarkReport, HasOneRowARepetitionAndAMedian) {
  const Report report = sample::failures();
  nlohmann::json document = nlohmann::json::parse(write(report, "gbench"));
  EXPECT_EQ(document["context"]["json_schema_version"], 1);
  std::map<std::string, std::vector<double>> repetitions;
  for (const nlohmann::json& row : document["benchmarks"]) {
    for (const char* key : {"name", "run_name", "run_type", "real_time", "cpu_time", "time_unit"})
      EXPECT_TRUE(row.contains(key)) << key;
    EXPECT_EQ(row["time_unit"], "ms");
    if (row["run_type"] == "iteration") {
      EXPECT_EQ(row["repetition_index"], repetitions[row["name"]].size());
      repetitions[row["name"]].push_back(row["real_time"]);
    } else {
      EXPECT_EQ(row["name"], row["run_name"].get<std::string>() + "_median");
    }
  }
  EXPECT_EQ(repetitions.size(), 4u) << "two sides of the passed and the mistrusted cell";
  EXPECT_EQ(repetitions.at("optimized/scheduler:euler/steps:5"), report.cells[0].implementations[1].total_ms.samples);
}

TEST(TraceReport, StagesFollowEachOtherInPipelineOrder) {
  Report report = sample::failures();
  std::ranges::reverse(report.cells[0].implementations[0].stages);
  nlohmann::json document = nlohmann::json::parse(write(report, "trace"));
  std::vector<std::string> order;
  double end = 0;
  for (const nlohmann::json& event : document["traceEvents"]) {
    EXPECT_NE(event["pid"], 1) << "the failed cell";
    if (event["ph"] != "X" || event["pid"] != 0 || event["tid"] != 1) continue;
    EXPECT_NEAR(event["ts"].get<double>(), end, 1e-6);
    end = event["ts"].get<double>() + event["dur"].get<double>();
    order.push_back(event["name"]);
  }
  ASSERT_EQ(order.size(), report.cells[0].implementations[0].stages.size());
  EXPECT_EQ(std::ranges::count(order, "unet"), 3);
  EXPECT_LT(std::ranges::find(order, "vae_encode"), std::ranges::find(order, "unet"));
  EXPECT_GT(std::ranges::find(order, "vae_decode"), std::ranges::find(order, "scheduler_step"));
}

TEST(HtmlReport, CarriesTheRowsUnharmed) {
  const Report report = sample::failures();
  const std::string page = write(report, "html");
  const std::string data = between(page, "id=\"data\">", "</script>");
  nlohmann::json document = nlohmann::json::parse(data);
  EXPECT_EQ(document["title"], report.title);
  EXPECT_EQ(document["cells"][3]["reason"], sample::kHostile);
  EXPECT_EQ(document["cells"][1]["command"], report.cells[1].command);
  EXPECT_EQ(data.find('<'), std::string::npos);
  EXPECT_NE(page.find("<title>" + xml_escape(report.title) + "</title>"), std::string::npos);
  // One for the data, one for our scripts, one for plotly, one a picture: nothing in the strings opened or closed
  // another.
  const std::size_t pictures = occurrences(page, "<script type=\"text/plain\" id=\"picture-");
  EXPECT_EQ(occurrences(page, "</script"), 3 + pictures);
  EXPECT_EQ(pictures, 4u) << "source, reference (shared), and the two that differ from it";
}

TEST(HtmlReport, StoresEqualPicturesOnceAndWhole) {
  const Report report = sample::failures();
  const std::string page = write(report, "html");
  nlohmann::json document = nlohmann::json::parse(between(page, "id=\"data\">", "</script>"));
  EXPECT_EQ(document["cells"][0]["pictures"]["reference"], document["cells"][0]["pictures"]["optimized"]);
  EXPECT_EQ(document["cells"][0]["pictures"]["source"], document["cells"][1]["pictures"]["source"]);
  EXPECT_NE(document["cells"][1]["pictures"]["optimized"], document["cells"][1]["pictures"]["reference"]);
  EXPECT_TRUE(document["cells"][3]["pictures"]["source"].is_null());
  const std::string number = document["cells"][1]["pictures"]["optimized"].dump();
  EXPECT_EQ(between(page, "id=\"picture-" + number + "\">", "</script>"),
            "data:image/png;base64," + base64(report.cells[1].optimized_png));
}

TEST(HtmlReport, AsksTheNetworkForNothing) {
  const std::string page = write(sample::failures(), "html");
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  const std::size_t plotly = page.find("* plotly.js v");
  ASSERT_NE(plotly, std::string::npos) << "the plotting library is not in the page";
  const std::string ours = page.substr(0, plotly);
  for (const char* outside : {"http://", "https://", "@import", "url(", "src=\"", "fetch(", "XMLHttpRequest"}) {
    EXPECT_EQ(ours.find(outside), std::string::npos) << outside;
  }
}

TEST(Text, Base64MatchesRfc4648) {
  for (const auto& [plain, encoded] : std::map<std::string, std::string>{{"", ""},
                                                                         {"f", "Zg=="},
                                                                         {"fo", "Zm8="},
                                                                         {"foo", "Zm9v"},
                                                                         {"foob", "Zm9vYg=="},
                                                                         {"foobar", "Zm9vYmFy"},
                                                                         {"\xFF\xFE\xFD", "//79"}}) {
    EXPECT_EQ(base64(plain), encoded);
  }
}

/// Compares with tests/goldens/NAME. I2I_UPDATE_GOLDENS=1 rewrites it: then read the difference before it is committed.
void expect_golden(const std::string& text, const std::string& name) {
  const std::string path = std::string(I2I_SOURCE_DIR) + "/tests/goldens/" + name;
  if (std::getenv("I2I_UPDATE_GOLDENS") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::ifstream file(path, std::ios::binary);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(text, golden.str()) << path;
}

TEST(Goldens, CsvMarkdownAndJunit) {
  const Report report = sample::failures();
  expect_golden(write(report, "csv"), "report.csv");
  expect_golden(write(report, "md"), "report.md");
  expect_golden(write(report, "junit"), "report.junit.xml");
}

TEST(Samples, AreLeftForEyes) {
  const auto leave = [](const char* name, const Report& report) {
    const std::string page = write(report, "html");
    std::ofstream(std::filesystem::path(I2I_BINARY).replace_filename(name), std::ios::binary) << page;
    return page.size();
  };
  leave("report_sample_ok.html", sample::sweep());
  leave("report_sample_failures.html", sample::failures());
  const Report large = sample::sweep(512, 9);
  ASSERT_GE(large.cells.size(), 300u);
  std::size_t pictures = 0;
  for (const CellRow& cell : large.cells) pictures += cell.optimized_png.size() + cell.reference_png.size();
  EXPECT_LT(leave("report_sample_large.html", large), 10'000'000 + pictures * 3 / 2);
}

}  // namespace
}  // namespace i2i
