// Random prompts: whatever the bytes, each tokenizer gives its fixed number of ids out of its own vocabulary.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "interface/tokenizer.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using i2i::Tokenizer;
  const std::string folder = I2I_SOURCE_DIR "/datasets/";
  constexpr std::int64_t kClipVocabulary = 49408;
  static const std::vector<Tokenizer> tokenizers = {
      Tokenizer::load(folder + "models/scenes/tokenizer"), Tokenizer::load(folder + "goldens/models/sdxl/tokenizer_2"),
      Tokenizer::load(folder + "goldens/tokenizers/whole"), Tokenizer::bytes_only(kClipVocabulary, 77, true)};
  ++i2i::fuzz::count.inputs;
  ++i2i::fuzz::count.accepted;
  for (const Tokenizer& tokenizer : tokenizers) {
    const auto ids = tokenizer.encode({reinterpret_cast<const char*>(data), size});
    const auto empty = tokenizer.encode("");
    i2i::fuzz::require(ids.size() == static_cast<std::size_t>(tokenizer.model_max_length()), "the length is fixed");
    i2i::fuzz::require(ids[0] == empty[0], "a text begins with the start token");
    bool ended = false;
    for (const std::int64_t id : ids) {
      i2i::fuzz::require(id >= 0 && id < kClipVocabulary, "ids are of the vocabulary");
      ended |= id == empty[1];
    }
    i2i::fuzz::require(ended, "a text has its end token");
  }
  return 0;
}
