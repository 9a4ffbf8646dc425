// Promise: a request is accepted exactly as image_to_image.schema.json says, and refused with every violation at once,
// each with its pointer and the action's code, whatever the text.
#include "interface/request.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace i2i {
namespace {

using nlohmann::json;

json minimal() { return {{"source_image", "a.png"}, {"prompt", "a red circle"}, {"negative_prompt", ""}}; }

json with(const std::string& field, const json& value) {
  json document = minimal();
  document[field] = value;
  return document;
}

json without(const std::string& field) {
  json document = minimal();
  document.erase(field);
  return document;
}

/// The error that a request is refused with; a failure of the test where it is accepted.
template <typename Document>
Error refusal(const Document& document) {
  try {
    parse_request(document);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "accepted: " << document;
  return Error(ErrorCode::kUsage, "accepted");
}

TEST(Request, DefaultsComeFromTheSchema) {
  const Request request = parse_request(minimal());
  EXPECT_EQ(request.source_image, "a.png");
  EXPECT_EQ(request.prompt, "a red circle");
  EXPECT_EQ(request.prompt_2, std::nullopt);
  EXPECT_EQ(request.negative_prompt, "");
  EXPECT_EQ(request.guidance_scale, 7.5);
  EXPECT_EQ(request.image_guidance_scale, 1.5);
  EXPECT_EQ(request.strength, 0.8);
  EXPECT_EQ(request.steps, 20);
  EXPECT_EQ(request.batch_size, 1);
  EXPECT_EQ(request.seed, std::nullopt);
  EXPECT_EQ(request.width, 0);
  EXPECT_EQ(request.height, 0);
}

TEST(Request, EveryFieldArrivesAndSurvivesTheWayBack) {
  const json document = {{"source_image", "https://example.org/a.png"},
                         {"prompt", "caf\u00e9 \u732b"},
                         {"prompt_2", "second"},
                         {"negative_prompt", "blurry"},
                         {"guidance_scale", 15},
                         {"image_guidance_scale", 0.001},
                         {"strength", 1},
                         {"steps", 50},
                         {"batch_size", 8},
                         {"seed", 9007199254740991},
                         {"width", 4096},
                         {"height", 1}};
  const Request request = parse_request(document.dump());
  EXPECT_EQ(request.prompt_2, "second");
  EXPECT_EQ(request.guidance_scale, 15.0);
  EXPECT_EQ(request.image_guidance_scale, 0.001);
  EXPECT_EQ(request.strength, 1.0);
  EXPECT_EQ(request.steps, 50);
  EXPECT_EQ(request.batch_size, 8);
  EXPECT_EQ(request.seed, 9007199254740991u);
  EXPECT_EQ(request.width, 4096);
  EXPECT_EQ(request.height, 1);
  EXPECT_EQ(to_json(request), document);
  EXPECT_EQ(to_json(parse_request(to_json(parse_request(minimal())))), to_json(parse_request(minimal())));
}

TEST(Request, NullsAndAnEmptyNegativePromptAreAccepted) {
  EXPECT_NO_THROW(parse_request(with("prompt_2", nullptr)));
  EXPECT_NO_THROW(parse_request(with("prompt_2", "")));
  EXPECT_NO_THROW(parse_request(with("seed", nullptr)));
  EXPECT_NO_THROW(parse_request(with("prompt", " x ")));
  EXPECT_NO_THROW(parse_request(with("prompt", "\u200b\u732b")));
}

struct Row {
  const char* field;
  json value;
  ErrorCode code;
  const char* words;  ///< stand in the message: the value and the bound
};

TEST(Request, OutOfBoundsHasTheParametersOwnCode) {
  const double tiny = std::numeric_limits<double>::denorm_min();
  const double above_one = std::nextafter(1.0, 2.0);
  const std::vector<Row> rows = {
      {"strength", 1.2, ErrorCode::kInvalidStrength, "1.2 is above the maximum 1.0"},
      {"strength", above_one, ErrorCode::kInvalidStrength, "is above the maximum 1.0"},
      {"strength", 0, ErrorCode::kInvalidStrength, "0 is not above 0.0"},
      {"strength", -0.0, ErrorCode::kInvalidStrength, "-0.0 is not above 0.0"},
      {"strength", -tiny, ErrorCode::kInvalidStrength, "is not above 0.0"},
      {"strength", 2, ErrorCode::kInvalidStrength, "2 is above the maximum 1.0"},
      {"guidance_scale", 0, ErrorCode::kInvalidGuidance, "0 is not above 0.0"},
      {"guidance_scale", 15.5, ErrorCode::kInvalidGuidance, "15.5 is above the maximum 15.0"},
      {"guidance_scale", -7.5, ErrorCode::kInvalidGuidance, "-7.5 is not above 0.0"},
      {"guidance_scale", 1e300, ErrorCode::kInvalidGuidance, "1e+300 is above the maximum 15.0"},
      {"image_guidance_scale", 0.0, ErrorCode::kInvalidGuidance, "0.0 is not above 0.0"},
      {"image_guidance_scale", 16, ErrorCode::kInvalidGuidance, "16 is above the maximum 15.0"},
      {"steps", 0, ErrorCode::kInvalidSteps, "0 is below the minimum 1"},
      {"steps", -1, ErrorCode::kInvalidSteps, "-1 is below the minimum 1"},
      {"steps", 51, ErrorCode::kInvalidSteps, "51 is above the maximum 50"},
      {"steps", std::numeric_limits<std::int64_t>::min(), ErrorCode::kInvalidSteps, "is below the minimum 1"},
      {"steps", std::numeric_limits<std::uint64_t>::max(), ErrorCode::kInvalidSteps, "is above the maximum 50"},
      {"steps", 1e30, ErrorCode::kInvalidSteps, "1e+30 is above the maximum 50"},
      {"batch_size", 0, ErrorCode::kBatchSizeExceeded, "0 is below the minimum 1"},
      {"batch_size", 9, ErrorCode::kBatchSizeExceeded, "9 is above the maximum 8"},
      {"batch_size", 4294967297, ErrorCode::kBatchSizeExceeded, "4294967297 is above the maximum 8"},
      {"seed", -1, ErrorCode::kInvalidRequest, "-1 is below the minimum 0"},
      {"seed", 9007199254740992, ErrorCode::kInvalidRequest, "9007199254740992 is above the maximum 9007199254740991"},
      {"width", -1, ErrorCode::kInvalidRequest, "-1 is below the minimum 0"},
      {"width", 4097, ErrorCode::kInvalidRequest, "4097 is above the maximum 4096"},
      {"height", -64, ErrorCode::kInvalidRequest, "-64 is below the minimum 0"},
      {"height", 100000, ErrorCode::kInvalidRequest, "100000 is above the maximum 4096"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(row.field) + " = " + row.value.dump());
    for (const Error& error : {refusal(with(row.field, row.value)), refusal(with(row.field, row.value).dump())}) {
      EXPECT_EQ(error.code(), row.code);
      ASSERT_EQ(error.violations().size(), 1u);
      EXPECT_EQ(error.violations()[0].pointer, std::string("/") + row.field);
      EXPECT_EQ(error.violations()[0].code, row.code);
      EXPECT_NE(error.violations()[0].message.find(row.words), std::string::npos) << error.violations()[0].message;
      EXPECT_EQ(std::string(error.what()), std::string("/") + row.field + ": " + error.violations()[0].message);
    }
  }
}

TEST(Request, EveryWrongTypeIsAnInvalidRequest) {
  const std::vector<json> values = {
      nullptr, true, "7", "", 7, 7.5, -1.5, json::array(), json::array({1}), json::object(), json{{"a", 1}}, 20.0};
  const std::vector<std::pair<std::string, std::set<std::string>>> accepted = {
      {"source_image", {"string"}},    {"prompt", {"string"}},         {"prompt_2", {"string", "null"}},
      {"negative_prompt", {"string"}}, {"guidance_scale", {"number"}}, {"image_guidance_scale", {"number"}},
      {"strength", {"number"}},        {"steps", {"integer"}},         {"batch_size", {"integer"}},
      {"seed", {"integer", "null"}},   {"width", {"integer"}},         {"height", {"integer"}}};
  int refused = 0;
  for (const auto& [field, types] : accepted) {
    for (const json& value : values) {
      const bool fits = (value.is_string() && types.count("string") != 0) ||
                        (value.is_null() && types.count("null") != 0) ||
                        (value.is_number() && types.count("number") != 0) ||
                        (value.is_number_integer() && types.count("integer") != 0);
      if (fits) continue;
      SCOPED_TRACE(field + " = " + value.dump());
      const Error error = refusal(with(field, value));
      EXPECT_EQ(error.code(), ErrorCode::kInvalidRequest);
      ASSERT_EQ(error.violations().size(), 1u);
      EXPECT_EQ(error.violations()[0].pointer, "/" + field);
      EXPECT_NE(error.violations()[0].message.find("is not of type"), std::string::npos);
      ++refused;
    }
  }
  EXPECT_GE(refused, 100);
}

TEST(Request, NotANumberAndInfinityAreRefusedInParsedDocuments) {
  for (const char* field : {"strength", "guidance_scale", "image_guidance_scale", "steps", "seed", "width"}) {
    for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity()}) {
      EXPECT_EQ(refusal(with(field, value)).code(), ErrorCode::kInvalidRequest) << field << " = " << value;
    }
  }
}

TEST(Request, BlankPromptsAreEmptyInEveryKindOfWhiteSpace) {
  const std::vector<std::string> blanks = {"",
                                           " ",
                                           "\t\n\v\f\r",
                                           "\u0085",
                                           "\u00a0",
                                           "\u1680",
                                           "\u2000\u2001\u2002\u2003\u2004\u2005\u2006",
                                           "\u2007\u2008\u2009\u200a",
                                           "\u2028",
                                           "\u2029",
                                           "\u202f",
                                           "\u205f",
                                           "\u3000",
                                           "\ufeff",
                                           " \u3000 \t",
                                           std::string(100000, ' ')};
  for (const std::string& blank : blanks) {
    EXPECT_EQ(refusal(with("prompt", blank)).code(), ErrorCode::kEmptyPrompt) << '"' << blank.substr(0, 20) << '"';
    EXPECT_EQ(refusal(with("source_image", blank)).code(), ErrorCode::kSourceImageError);
  }
  EXPECT_EQ(refusal(without("prompt")).code(), ErrorCode::kEmptyPrompt);
  EXPECT_EQ(refusal(without("source_image")).code(), ErrorCode::kSourceImageError);
  EXPECT_EQ(refusal(without("negative_prompt")).code(), ErrorCode::kInvalidRequest);
}

TEST(Request, AllViolationsAreReportedInTheSchemasOrder) {
  const json document = {{"prompt", "  "},   {"strength", 1.2}, {"steps", 0}, {"guidance_scale", "7"},
                         {"batch_size", 99}, {"strenght", 0.5}, {"a/b~c", 1}};
  const Error error = refusal(document);
  std::vector<std::string> found;
  for (const Violation& violation : error.violations()) {
    found.push_back(violation.pointer + " " + std::string(to_string(violation.code)));
  }
  EXPECT_EQ(found, (std::vector<std::string>{
                       "/source_image source_image_error", "/prompt empty_prompt", "/negative_prompt invalid_request",
                       "/guidance_scale invalid_request", "/strength invalid_strength", "/steps invalid_steps",
                       "/batch_size batch_size_exceeded", "/a~1b~0c invalid_request", "/strenght invalid_request"}));
  EXPECT_EQ(error.code(), ErrorCode::kSourceImageError);
  EXPECT_NE(error.violations().back().message.find("did you mean strength?"), std::string::npos);
}

TEST(Request, UnparsableTextIsAnInvalidRequest) {
  const std::string valid = minimal().dump();
  const auto inserted = [&](const std::string& text) { return valid.substr(0, valid.size() - 1) + "," + text + "}"; };
  const std::string million_brackets(1'000'000, '['), deep_objects = [] {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += "{\"a\":";
    return text;
  }();
  std::vector<std::string> texts = {"",
                                    " ",
                                    "\n",
                                    "{",
                                    "}",
                                    "[]",
                                    "[{}]",
                                    "null",
                                    "true",
                                    "1",
                                    "1.5",
                                    "\"text\"",
                                    "undefined",
                                    "{}{}",
                                    valid + "x",
                                    valid + valid,
                                    std::string("'") + valid + "'",
                                    "{'prompt': 'x'}",
                                    "{prompt: \"x\"}",
                                    "{\"prompt\" \"x\"}",
                                    "{\"prompt\": }",
                                    "{,}",
                                    std::string("// comment\n") + valid,
                                    std::string("/* comment */") + valid,
                                    valid.substr(0, valid.size() - 1) + ",}",
                                    "<html></html>",
                                    "%PDF-1.4",
                                    std::string(1, '\0'),
                                    valid + std::string(1, '\0'),
                                    std::string("\xff\xfe{\0}\0", 6),
                                    million_brackets,
                                    deep_objects,
                                    inserted(std::string("\"x\":") + million_brackets),
                                    inserted(std::string("\"x\":") + deep_objects),
                                    inserted("\"strength\": NaN"),
                                    inserted("\"strength\": Infinity"),
                                    inserted("\"strength\": -Infinity"),
                                    inserted("\"strength\": nan"),
                                    inserted("\"strength\": 1e309"),
                                    inserted("\"strength\": -1e309"),
                                    inserted("\"strength\": 1e99999999999"),
                                    inserted("\"steps\": 0x10"),
                                    inserted("\"steps\": 010"),
                                    inserted("\"steps\": +5"),
                                    inserted("\"steps\": .5"),
                                    inserted("\"steps\": 5."),
                                    inserted("\"steps\": 1_0"),
                                    inserted("\"steps\": 5, \"steps\": 6"),
                                    inserted("\"prompt\": \"again\""),
                                    inserted("\"\\u0070rompt\": \"the same field, escaped\""),
                                    inserted("\"prompt_2\": \"\\ud800\""),
                                    inserted("\"prompt_2\": \"\\udc00\\ud800\""),
                                    inserted("\"prompt_2\": \"\xff\xfe\""),
                                    inserted("\"prompt_2\": \"\xc0\xaf\""),
                                    inserted("\"prompt_2\": \"\xed\xa0\x80\""),
                                    inserted("\"prompt_2\": \"\n\""),
                                    inserted("\"prompt_2\": \"\\x41\""),
                                    inserted("\"prompt_2\": \"unterminated"),
                                    inserted("\"x\": {\"y\": 1, \"y\": 2}")};
  std::string many = "\"x\":[0";
  for (int i = 0; i < 200'000; ++i) many += ",0";
  texts.push_back(inserted(many + "]"));
  for (std::size_t length = 1; length < valid.size(); ++length) texts.push_back(valid.substr(0, length));
  EXPECT_GE(texts.size(), 120u);  // with the wrong types above more than 200 malformed requests
  for (const std::string& text : texts) {
    const Error error = refusal(text);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidRequest) << text.substr(0, 200);
    EXPECT_FALSE(error.violations().empty());
    EXPECT_NO_THROW(to_json(error).dump()) << text.substr(0, 200);
    EXPECT_LT(std::string(error.what()).size(), 1000u);
  }
}

TEST(Request, ATextBeyondItsBoundIsRefusedBeforeItIsParsed) {
  EXPECT_NE(std::string(refusal(std::string((std::size_t{96} << 20) + 1, '[')).what()).find("100663296"),
            std::string::npos);
  const std::string long_address = "data:image/png;base64," + std::string(std::size_t{80} << 20, 'A');
  EXPECT_EQ(parse_request(with("source_image", long_address)).source_image.size(), long_address.size());
}

TEST(Request, DeepDocumentsThatAreParsedAlreadyAreRefusedWithoutRecursion) {
  json document = minimal();  // filled by moves only: copying a deep document would need a deep stack by itself
  json& deep = document["strength"];
  for (int i = 0; i < 300'000; ++i) {
    json outer = json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  const Error error = [&] {
    try {
      parse_request(document);
    } catch (const Error& refused) {
      return refused;
    }
    return Error(ErrorCode::kUsage, "accepted");
  }();
  EXPECT_EQ(error.code(), ErrorCode::kInvalidRequest) << error.what();
}

TEST(Request, DamagedTextsNeverDoAnythingButParseOrBeRefused) {
  json document = to_json(parse_request(minimal()));
  document["seed"] = 7;
  const std::string valid = document.dump();
  std::mt19937_64 random(7);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = valid;
    for (std::uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        case 2:
          text.insert(at, 1, "{}[]\",:0123456789.eE+-\\ntu"[random() % 25]);
          break;
        default:
          text.insert(at, valid.substr(random() % valid.size(), random() % 20));
      }
      if (text.empty()) text.push_back(' ');
    }
    try {
      const Request request = parse_request(text);
      ++accepted;
      EXPECT_GT(request.strength, 0);
      EXPECT_LE(request.strength, 1);
      EXPECT_LE(request.steps, 50);
      EXPECT_LE(request.batch_size, 8);
    } catch (const Error& error) {
      ++refused;
      EXPECT_FALSE(error.violations().empty());
      EXPECT_NE(error.code(), ErrorCode::kUsage);
      EXPECT_NO_THROW(to_json(error).dump());
    }
  }
  EXPECT_GT(accepted, 50);
  EXPECT_GT(refused, 1000);
}

TEST(Request, ErrorsHaveTheShapeThatTheCommandLinePrints) {
  const json printed = to_json(refusal(with("strength", 1.2)));
  EXPECT_EQ(printed,
            json::parse(R"({"error": {"code": "invalid_strength", "message": "/strength: 1.2 is above the maximum 1.0",
      "violations": [{"pointer": "/strength", "code": "invalid_strength", "message": "1.2 is above the maximum 1.0"}]}})"));
  const json other = to_json(Error(ErrorCode::kSourceImageError, "a\xff.png: no such file"));
  EXPECT_EQ(other["error"]["message"], "a\ufffd.png: no such file");
  EXPECT_EQ(other["error"]["violations"], json::array());
}

TEST(Request, TheEmbeddedSchemaIsTheFile) {
  std::ifstream file(I2I_SOURCE_DIR "/interface/image_to_image.schema.json");
  EXPECT_EQ(image_to_image_schema(), json::parse(file));
  const json& input = image_to_image_schema()["$defs"]["input"];
  EXPECT_EQ(input["properties"].size(), 12u);
  EXPECT_EQ(input["additionalProperties"], false);
  for (const auto& [name, rules] : input["properties"].items()) EXPECT_FALSE(rules["description"].empty()) << name;
  EXPECT_EQ(image_to_image_schema()["$defs"]["output"]["required"], json::array({"images"}));
}

}  // namespace
}  // namespace i2i
