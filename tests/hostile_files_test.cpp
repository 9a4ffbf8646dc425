// Promise: a hostile model file is refused before memory is touched, with an error that says why in a few words,
// whatever it says about itself. Release builds measure the memory, sanitizer builds watch every access.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "interface/error.h"
#include "interface/json_file.h"
#include "interface/model_files.h"
#include "tests/process_memory.h"
#include "tests/scratch_folder.h"

namespace i2i {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSparseBytes = std::uint64_t{8} << 30;  // of nothing: no disk holds them, no memory should
constexpr std::int64_t kOwnBytes = 4 << 20;
// A text is read into memory once by the reader and its longest token at most three times more by nlohmann's.
constexpr std::int64_t kTimesItsText = 5;
// A million values, which is the bound, with the tree and the set of keys that hold them.
constexpr std::int64_t kTreeBytes = 256 << 20;
constexpr std::size_t kLongestMessage = 700;

class HostileFile : public testing::Test {
 protected:
  std::string file() const { return (folder_ / "hostile").string(); }

  /// The reader's words, in this process.
  std::string refusal(const std::function<void()>& reader) const {
    try {
      reader();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kGenerationFailed);
      const std::string what = error.what();
      EXPECT_LE(what.size(), kLongestMessage) << what.substr(0, 1000);
      return what;
    }
    ADD_FAILURE() << "accepted";
    return {};
  }

  /// Refused with these words, and a process that does nothing else grows by no more than `bytes`.
  void expect_refused(const std::string& words, std::int64_t bytes, const std::function<void()>& reader) const {
    SCOPED_TRACE(words);
    const std::string what = refusal(reader);
    EXPECT_NE(what.find(words), std::string::npos) << what;
    EXPECT_NE(what.find(file()), std::string::npos) << "the file is not named: " << what;
#ifndef __SANITIZE_ADDRESS__
    const auto grown = in_a_child([&] {
      // An exception's way out reads tables of every library: pages that the reader has not to answer for.
      static_cast<void>(refusal([] { throw Error(ErrorCode::kGenerationFailed, ""); }));
      const Memory before = memory_now();
      static_cast<void>(refusal(reader));
      return memory_now().peak - before.resident;
    });
    EXPECT_LE(grown, bytes) << (grown >> 20) << " MB";
#else
    static_cast<void>(bytes);
#endif
  }

  void expect_weights_refused(const std::string& words, const std::string& header, std::uint64_t said_length,
                              std::uint64_t file_bytes, std::int64_t bytes = kOwnBytes) const {
    std::ofstream out(file(), std::ios::binary);
    out.write(reinterpret_cast<const char*>(&said_length), sizeof said_length);
    out << header;
    out.close();
    fs::resize_file(file(), file_bytes);
    expect_refused(words, bytes, [&] { read_safetensors(file()); });
  }
  /// A header told by its true length, before `data_bytes` of data.
  void expect_weights_refused(const std::string& words, const std::string& header, std::uint64_t data_bytes = 8) const {
    const auto bytes = static_cast<std::int64_t>(header.size());
    expect_weights_refused(words, header, header.size(), 8 + header.size() + data_bytes,
                           kOwnBytes + (bytes > kOwnBytes ? kTimesItsText * bytes + kTreeBytes : 0));
  }

  void expect_json_refused(const std::string& words, const std::string& text, std::int64_t bytes) const {
    std::ofstream(file(), std::ios::binary) << text;
    expect_refused(words, bytes, [&] { read_json_object(file()); });
  }

  const ScratchFolder scratch_;
  const fs::path folder_ = scratch_.path();
};

std::string repeated(const std::string& text, int times) {
  std::string all;
  all.reserve(text.size() * static_cast<std::size_t>(times));
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"("dtype":{},"shape":{},"data_offsets":{})", dtype, shape, offsets);
}
std::string one_tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"a":{{{}}}}})", entry(dtype, shape, offsets));
}
std::string two_tensors(const std::string& first_offsets, const std::string& second_offsets) {
  return fmt::format(R"({{"a":{{{}}},"b":{{{}}}}})", entry(R"("F32")", "[2]", first_offsets),
                     entry(R"("F32")", "[2]", second_offsets));
}

TEST_F(HostileFile, ATruncatedOneIsRefusedAtEveryLength) {
  const fs::path whole = folder_ / "whole.safetensors";
  write_safetensors({{"weight", at::ones({3, 4})}, {"bias", at::ones(4, at::kHalf)}}, whole.string());
  const auto size = fs::file_size(whole);
  for (std::uint64_t length = 0; length < size; ++length) {
    fs::copy_file(whole, file(), fs::copy_options::overwrite_existing);
    fs::resize_file(file(), length);
    SCOPED_TRACE(length);
    EXPECT_FALSE(refusal([&] { read_safetensors(file()); }).empty());
  }
  EXPECT_GT(size, 150u);
}

TEST_F(HostileFile, AbsurdHeaderLengths) {
  const std::string whole = one_tensor(R"("F32")", "[2]", "[0,8]");
  for (const std::uint64_t length : {~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 8,
                                     std::uint64_t{0} - 8, std::uint64_t{1} << 32})
    expect_weights_refused(fmt::format("says its header has {} bytes; at most", length), whole, length, 200);
  expect_weights_refused("100000001 bytes; at most 100000000", whole, 100'000'001, kSparseBytes);
  expect_weights_refused("holds a zero byte", "", 100'000'000, kSparseBytes);
  expect_weights_refused("says its header has 193 bytes; at most 192", whole, 193, 200);
  expect_weights_refused("is not JSON", "", 0, 200);
}

TEST_F(HostileFile, OffsetsThatOverlapOrLieOutside) {
  expect_weights_refused("the one before ends at 8", two_tensors("[0,8]", "[0,8]"), 16);
  expect_weights_refused("the one before ends at 8", two_tensors("[0,8]", "[4,12]"), 16);
  expect_weights_refused("the one before ends at 8", two_tensors("[0,8]", "[16,24]"), 24);
  expect_weights_refused("ends at byte 16 of 8", two_tensors("[0,8]", "[8,16]"), 8);
  expect_weights_refused("8 bytes after its last tensor", two_tensors("[0,8]", "[8,16]"), 24);
  expect_weights_refused("do not fit its shape", one_tensor(R"("F32")", "[2]", "[8,0]"));
  expect_weights_refused("do not fit its shape", one_tensor(R"("F32")", "[2]", "[18446744073709551608,0]"));
  expect_weights_refused("ends at byte 18446744073709551615",
                         one_tensor(R"("F32")", "[2]", "[18446744073709551607,18446744073709551615]"));
  expect_weights_refused("-8 is no size", one_tensor(R"("F32")", "[2]", "[-8,0]"));
  expect_weights_refused("8.0 is no size", one_tensor(R"("F32")", "[2]", "[0,8.0]"));
  expect_weights_refused("wrong form", one_tensor(R"("F32")", "[2]", "[0,4,8]"));
}

TEST_F(HostileFile, ShapesLargerThanAnyFile) {
  for (const char* shape : {"[4611686018427387904,4]", "[4611686018427387904,4,0]", "[18446744073709551615]",
                            "[2147483648,2147483648,2147483648]", "[0,18446744073709551615,18446744073709551615]"})
    expect_weights_refused("is larger than any file", one_tensor(R"("F32")", shape, "[0,0]"));
  expect_weights_refused("do not fit its shape", one_tensor(R"("F32")", "[1073741824]", "[0,8]"));
  expect_weights_refused("ends at byte 4294967296 of 8", one_tensor(R"("F32")", "[1073741824]", "[0,4294967296]"));
}

TEST_F(HostileFile, WrongDtypes) {
  for (const char* dtype : {"F33", "f32", "", "F32 ", "C64", "U16"})
    expect_weights_refused(fmt::format("dtype {} is not supported", dtype),
                           one_tensor(fmt::format("\"{}\"", dtype), "[2]", "[0,8]"));
  for (const char* dtype : {"32", "null", "[]", "{}"})
    expect_weights_refused("has the wrong form", one_tensor(dtype, "[2]", "[0,8]"));
}

TEST_F(HostileFile, JsonBombs) {
  constexpr int kMany = 1'100'000;
  const std::string deep = "{\"a\":" + repeated("[", kMany) + repeated("]", kMany) + "}";
  const std::string deep_objects = repeated("{\"a\":", kMany) + "1" + repeated("}", kMany);
  const std::string long_text(8 << 20, 'x');
  const std::string long_number(2 << 20, '7');
  std::string many_keys = "{";
  for (int i = 0; i < kMany; ++i) many_keys += fmt::format("\"{}\":0,", i);
  many_keys += "\"\":0}";
  const std::string many_values = "{\"a\":[" + repeated("0,", kMany) + "0]}";
  const std::string many_lists = "{\"a\":[" + repeated("[],", kMany) + "[]]}";
  const std::string many_escapes = "{\"a\":\"" + repeated("\\u0041", kMany) + "\"}";

  const auto times = [](const std::string& text, std::int64_t more = 0) {
    return kOwnBytes + kTimesItsText * static_cast<std::int64_t>(text.size()) + more;
  };
  expect_json_refused("is nested more than 16 deep", deep, times(deep));
  expect_json_refused("is nested more than 16 deep", deep_objects, times(deep_objects));
  expect_json_refused("holds more than 1000000 values", many_keys, times(many_keys, kTreeBytes));
  expect_json_refused("holds more than 1000000 values", many_values, times(many_values, kTreeBytes));
  expect_json_refused("holds more than 1000000 values", many_lists, times(many_lists, kTreeBytes));
  expect_json_refused("is not JSON", "{\"a\":\"" + long_text, times(long_text));
  expect_json_refused("is not JSON", "{\"a\":" + long_number + "}x", times(long_number));
  expect_json_refused("twice", "{\"" + long_text + "\":0,\"" + long_text + "\":0}", times(long_text));
  expect_json_refused("does not hold a JSON object", "\"" + long_text + "\"", times(long_text));
  std::ofstream(file()) << "{}";
  fs::resize_file(file(), kSparseBytes);
  expect_refused("more than the 67108864 allowed", kOwnBytes, [&] { read_json_object(file()); });

  expect_weights_refused("is nested more than 16 deep", deep);
  expect_weights_refused("holds more than 1000000 values", many_keys);
  expect_weights_refused("holds more than 1000000 values", many_values);
  expect_weights_refused("has no dtype", "{\"" + long_text + "\":0}");
  expect_weights_refused("is not supported", one_tensor("\"" + long_text + "\"", "[2]", "[0,8]"));
  expect_weights_refused("is no size", one_tensor(R"("F32")", "[\"" + long_text + "\"]", "[0,8]"));
  expect_weights_refused("has more than 8 dimensions",
                         one_tensor(R"("F32")", "[" + repeated("1,", 900'000) + "1]", "[0,4]"));
  expect_weights_refused("has no dtype", many_escapes);
}

TEST_F(HostileFile, ConfigsOfOneLineAskForNoHugeLayouts) {
  for (const char* text : {R"({"num_hidden_layers": 16777216})", R"({"num_hidden_layers": 201})"})
    EXPECT_NE(refusal([&] { parse_text_encoder_config(parse_json(text, "config")); }).find("at most 200 layers"),
              std::string::npos);
  EXPECT_NE(refusal([&] { parse_vae_config(parse_json(R"({"layers_per_block": 17})", "config")); }).find("at most 16"),
            std::string::npos);
  EXPECT_NE(refusal([&] { parse_unet_config(parse_json(R"({"layers_per_block": 17})", "config")); }).find("at most 16"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              parse_unet_config(parse_json(R"({"transformer_layers_per_block": 16777216})", "config"));
            }).find("at most 48"),
            std::string::npos);
}

TEST_F(HostileFile, LinksThatLeadInACircle) {
  fs::create_symlink("hostile", file());
  expect_refused("Too many levels of symbolic links", kOwnBytes, [&] { read_safetensors(file()); });
  expect_refused("is not there, or is not a file", kOwnBytes, [&] { read_json_object(file()); });
  fs::remove(file());
  const fs::path model = folder_ / "model";
  fs::copy(fs::path(I2I_SOURCE_DIR) / "datasets" / "goldens" / "models" / "sd15", model, fs::copy_options::recursive);
  for (const char* part : {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}) {
    SCOPED_TRACE(part);
    fs::rename(model / part, folder_ / "aside");
    fs::create_symlink(part, model / part);
    EXPECT_NE(refusal([&] { load_model(model.string()); }).find((model / part).string()), std::string::npos);
    fs::remove(model / part);
    fs::create_symlink(".", model / part);  // a folder that holds itself without end
    EXPECT_FALSE(refusal([&] { load_model(model.string()); }).empty());
    fs::remove(model / part);
    fs::rename(folder_ / "aside", model / part);
  }
  EXPECT_NO_THROW(load_model(model.string()));
}

}  // namespace
}  // namespace i2i
