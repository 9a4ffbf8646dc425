// Token ids equal transformers' CLIPTokenizer, for strings made to be difficult and for every way in which published
// folders write their special tokens. The expected ids come from datasets/goldens/make_tokenizer_goldens.py.
#include "interface/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "interface/error.h"
#include "tests/failures.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kGoldens = fs::path(I2I_SOURCE_DIR) / "datasets" / "goldens";

const json& golden() {
  static const json document = [] {
    std::ifstream in(kGoldens / "tokenizers.json");
    return json::parse(in);
  }();
  return document;
}

/// 32-bit FNV-1a of the ids, written with commas.
std::string fingerprint(const std::vector<std::int64_t>& ids) {
  std::uint32_t hash = 2166136261u;
  for (const char c : fmt::format("{}", fmt::join(ids, ","))) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return fmt::format("{:08x}", hash);
}

/// A folder that lives as long as the test.
class TokenizerTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }

  Tokenizer load() const { return Tokenizer::load(folder_.string()); }

  std::string error_of_load() const {
    return failure_of([&] { load(); });
  }

  const ScratchFolder scratch_;
  const fs::path folder_ = scratch_.path();
};

void expect_fingerprints(const Tokenizer& tokenizer, const json& expected, const std::string& name) {
  const auto& strings = golden().at("strings");
  const auto all = expected.at("fingerprints").get<std::string>();
  ASSERT_GE(strings.size(), 10000u);
  ASSERT_EQ(all.size(), strings.size() * 8);
  int wrong = 0;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    const auto ids = tokenizer.encode(strings[i].get<std::string>());
    if (fingerprint(ids) == all.substr(i * 8, 8)) continue;
    if (++wrong <= 10)
      ADD_FAILURE() << name << ", string " << i << ": " << strings[i].dump(-1, ' ', true) << " gives "
                    << fmt::format("{}", fmt::join(ids, " "));
  }
  EXPECT_EQ(wrong, 0) << "of " << strings.size();
}

TEST_F(TokenizerTest, EveryWayOfWritingSpecialTokensMatchesTransformers) {
  for (const auto& [name, way] : golden().at("ways").items()) {
    for (const char* file : {"vocab.json", "merges.txt"})
      fs::copy_file(kGoldens / "tokenizers" / file, folder_ / file, fs::copy_options::overwrite_existing);
    write("tokenizer_config.json", way.at("config").dump());
    fs::remove(folder_ / "special_tokens_map.json");
    if (!way.at("map").is_null()) write("special_tokens_map.json", way.at("map").dump());

    const Tokenizer tokenizer = load();
    for (std::size_t i = 0; i < way.at("ids").size(); ++i)
      EXPECT_EQ(tokenizer.encode(golden().at("strings")[i].get<std::string>()),
                way.at("ids")[i].get<std::vector<std::int64_t>>())
          << name << ": " << golden().at("strings")[i];
    expect_fingerprints(tokenizer, way, name);
  }
}

TEST(Tokenizer, WholeTokenizerJsonAsTransformers5SavesIt) {
  expect_fingerprints(Tokenizer::load((kGoldens / "tokenizers" / "whole").string()), golden().at("folders").at("whole"),
                      "whole");
}

TEST(Tokenizer, EmbeddedModelsTokenizersMatchTransformers) {
  for (const char* name : {"tokenizer", "tokenizer_2"})
    expect_fingerprints(Tokenizer::load(std::string(I2I_SOURCE_DIR) + "/datasets/models/scenes/" + name),
                        golden().at("folders").at(std::string("scenes/") + name), name);
}

TEST(Tokenizer, BytesOnlyIsClipsVocabularyWithoutMerges) {
  const Tokenizer tokenizer = Tokenizer::bytes_only(520, 6, true);
  EXPECT_EQ(tokenizer.encode("A!"), (std::vector<std::int64_t>{518, 'a' - '!' + 256, 0, 519, 0, 0}));
  EXPECT_EQ(tokenizer.encode("abcdefgh"), (std::vector<std::int64_t>{518, 64, 65, 66, 67, 519}));
  EXPECT_EQ(Tokenizer::bytes_only(520, 4, false).encode("!"), (std::vector<std::int64_t>{518, 256, 519, 519}));
  EXPECT_THROW(Tokenizer::bytes_only(513, 77, false), Error);
}

TEST(Tokenizer, LongPiecesAndBrokenUtf8AreTaken) {
  const Tokenizer tokenizer = Tokenizer::load((kGoldens / "tokenizers" / "whole").string());
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a')).size(), 20u);
  EXPECT_EQ(tokenizer.encode("a\xff\xc3"), tokenizer.encode("a\ufffd\ufffd"));
}

TEST_F(TokenizerTest, BrokenFilesAreNamed) {
  EXPECT_NE(error_of_load().find("tokenizer_config.json"), std::string::npos);
  write("tokenizer_config.json", "{}");
  EXPECT_NE(error_of_load().find("vocab.json"), std::string::npos);
  write("vocab.json", R"({"a": 0, "<|startoftext|>": 1})");
  EXPECT_NE(error_of_load().find("merges.txt"), std::string::npos);
  write("merges.txt", "");
  EXPECT_NE(error_of_load().find("<|endoftext|>"), std::string::npos);
  write("vocab.json", R"({"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2})");
  EXPECT_EQ(load().encode("a").front(), 1);
  write("merges.txt", "#version: 0.2\na b\n");
  EXPECT_NE(error_of_load().find("no \"b\""), std::string::npos);
  write("merges.txt", "a\n");
  EXPECT_NE(error_of_load().find("\"a\" is no merge"), std::string::npos);
  write("vocab.json", R"({"a": -1})");
  EXPECT_NE(error_of_load().find("has the id -1"), std::string::npos);
  write("vocab.json", "{");
  EXPECT_NE(error_of_load().find("is not JSON"), std::string::npos);
}

}  // namespace
}  // namespace i2i
